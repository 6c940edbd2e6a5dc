"""``penstock.gateway.v1.ReplyService``: takes replies, gives receipts and cancellations."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import grpc

from penstock.gateway.v1.reply_service_pb2 import (
    BatchReply,
    Cancellation,
    ConnectRequest,
    ConnectResponse,
    Hello,
    Receipt,
    Welcome,
)
from services.common.errors import InvalidArgumentError
from services.gateway.domain.lane import Lane
from services.gateway.domain.sequences import SequenceWindow
from services.gateway.domain.tickets import Ticket
from services.gateway.pending import PendingTable

_RECEIPT_DELAY_S = 0.02
"""Replies of this long share a receipt."""
_LAST_RECEIPTS_S = 0.5
_FORGET_AFTER_S = 60.0
"""How long a consumer without a stream is remembered, to tell its repeated batches from new ones."""


class Worker:
    """One consumer, over all the streams that it opens; a restarted model process is another consumer."""

    def __init__(self, hello: Hello) -> None:
        self.model = hello.model
        self.version = hello.version
        self.window = SequenceWindow()
        self.streams: list[Stream] = []
        self.left_at = 0.0

    @property
    def lane_key(self) -> tuple[str, str]:
        return self.model, self.version


class Stream:
    """The gateway's side of one open stream: what there is to say, said at most every 20 ms."""

    def __init__(self, worker: Worker, context: Any) -> None:
        self._worker = worker
        self._context = context
        self._cancelled: list[int] = []
        self._owes_receipt = False
        self._has_news = asyncio.Event()
        self._writing = asyncio.Lock()

    def owe_receipt(self) -> None:
        self._owes_receipt = True
        self._has_news.set()

    def cancel(self, key: int) -> None:
        self._cancelled.append(key)
        self._has_news.set()

    async def run(self) -> None:
        """Send what is owed. Runs until cancelled."""
        while True:
            await self._has_news.wait()
            await asyncio.sleep(_RECEIPT_DELAY_S)
            await self.flush()

    async def flush(self) -> None:
        async with self._writing:
            self._has_news.clear()
            if self._cancelled:
                keys, self._cancelled = self._cancelled, []
                await self._context.write(ConnectResponse(cancellation=Cancellation(request_keys=keys)))
            if self._owes_receipt:
                self._owes_receipt = False
                await self._context.write(ConnectResponse(receipt=Receipt(sequence=self._worker.window.contiguous)))


class ReplyServicer:
    """The rpc, and all connected model processes."""

    def __init__(self, *, gateway_id: str, pending: PendingTable, find_lane: Callable[[str, str], Lane | None]) -> None:
        self._gateway_id = gateway_id
        self._pending = pending
        self._find_lane = find_lane
        self._workers: dict[str, Worker] = {}

    @property
    def stream_count(self) -> int:
        return sum(len(worker.streams) for worker in self._workers.values())

    async def Connect(self, _messages: Any, context: Any) -> None:
        hello = await context.read()
        if hello is grpc.aio.EOF:
            return
        worker = self._greet(hello)
        await context.write(ConnectResponse(welcome=Welcome(gateway_id=self._gateway_id)))
        stream = Stream(worker, context)
        worker.streams.append(stream)
        sending = asyncio.create_task(stream.run(), name=f"receipts for {hello.hello.consumer}")
        # It fails when the stream breaks, which the reading below sees too.
        sending.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            first = await context.read()
            if first is not grpc.aio.EOF:
                self._take(worker, stream, first, is_first_of_stream=True)
                await _listen(context, functools.partial(self._take, worker, stream, is_first_of_stream=False))
        finally:
            worker.streams.remove(stream)
            worker.left_at = time.monotonic()
            sending.cancel()
        await stream.flush()

    def cancel(self, ticket: Ticket) -> None:
        """Tell all processes of a ticket's lane that its caller left."""
        lane_key = ticket.lane.version.model, ticket.lane.version.version
        for worker in self._workers.values():
            if worker.lane_key == lane_key:
                for stream in worker.streams:
                    stream.cancel(ticket.key)

    async def flush(self) -> None:
        """Send the receipts that are owed, to whoever takes them at once, before the streams are closed."""
        flushes = [stream.flush() for worker in self._workers.values() for stream in worker.streams]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_RECEIPTS_S):
                await asyncio.gather(*flushes, return_exceptions=True)

    def _greet(self, message: ConnectRequest) -> Worker:
        if message.WhichOneof("message") != "hello" or not message.hello.consumer:
            raise InvalidArgumentError("the first message must be a hello that names its consumer")
        now = time.monotonic()
        for consumer, worker in list(self._workers.items()):
            if not worker.streams and now - worker.left_at > _FORGET_AFTER_S:
                del self._workers[consumer]
        return self._workers.setdefault(message.hello.consumer, Worker(message.hello))

    def _take(self, worker: Worker, stream: Stream, message: ConnectRequest, *, is_first_of_stream: bool) -> None:
        if message.WhichOneof("message") != "batch_reply" or message.batch_reply.sequence < 1:
            raise InvalidArgumentError("expected a batch_reply with a sequence from 1 after the hello")
        batch: BatchReply = message.batch_reply
        if worker.window.accept(batch.sequence, is_first_of_stream=is_first_of_stream):
            self._pending.settle_batch(batch, self._find_lane(worker.model, worker.version))
        stream.owe_receipt()


async def _listen(context: Any, take: Callable[[Any], None]) -> None:
    """Take every message until the last; at once, where the server can do so, instead of in a task's next turn."""
    if hasattr(context, "listen"):
        await context.listen(take)
        return
    while (message := await context.read()) is not grpc.aio.EOF:
        take(message)
