"""``penstock.gateway.v1.ReplyService``: takes replies, gives receipts, cancellations and lone requests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from penstock.gateway.v1.reply_service_pb2 import BatchReply, ConnectRequest, ConnectResponse, Welcome
from services.common.errors import InvalidArgumentError
from services.gateway.domain.lane import Lane
from services.gateway.domain.tickets import Ticket
from services.gateway.open_streams import OpenStreams
from services.gateway.pending import PendingTable
from services.gateway.workers import Stream, Worker

_LAST_RECEIPTS_S = 0.5
_FORGET_AFTER_S = 60.0
"""How long a consumer without a stream is remembered, to tell its repeated batches from new ones."""


class ReplyServicer:
    """The rpc, and all connected model processes."""

    def __init__(
        self,
        *,
        gateway_id: str,
        pending: PendingTable,
        find_lane: Callable[[str, str], Lane | None],
        on_taken_back: Callable[[Ticket], None],
        on_broken: Callable[[Ticket], None],
        on_cut_off: Callable[[Lane], None] = lambda _: None,
    ) -> None:
        """``on_taken_back`` gets requests that were handed over and are to go into their lanes after all, ``on_broken``
        those that may be there still and are not to run again. ``on_cut_off`` gets lanes of which no process is
        connected any more.
        """
        self._gateway_id = gateway_id
        self._pending = pending
        self._find_lane = find_lane
        self._on_taken_back = on_taken_back
        self._on_broken = on_broken
        self._on_cut_off = on_cut_off
        self._open_streams = OpenStreams(pending, on_broken=self._give_up)
        self._workers: dict[str, Worker] = {}
        self._streams: defaultdict[tuple[str, str], list[Stream]] = defaultdict(list)
        """The open streams by lane."""

    @property
    def stream_count(self) -> int:
        return sum(len(worker.streams) for worker in self._workers.values())

    @property
    def are_all_here(self) -> bool:
        """Whether all connected model processes can read our shared memory, as we can read theirs."""
        connected = [worker for worker in self._workers.values() if worker.streams]
        return bool(connected) and all(worker.reader is not None for worker in connected)

    async def Connect(self, _messages: Any, context: Any) -> None:
        hello = await context.read()
        if hello is grpc.aio.EOF:
            return
        worker = self._greet(hello)
        welcome = Welcome(gateway_id=self._gateway_id, is_payload_store_readable=worker.reader is not None)
        await context.write(ConnectResponse(welcome=welcome))
        stream = Stream(worker, context)
        worker.streams.append(stream)
        self._streams[worker.lane_key].append(stream)
        self._open_streams.tell_again(worker, stream)
        if (lane := self._find_lane(*worker.lane_key)) is not None:
            lane.note_process(now=asyncio.get_running_loop().time())
        sending = asyncio.create_task(stream.run(), name=f"receipts for {hello.hello.consumer}")
        # It fails when the stream breaks, which the reading below sees too.
        sending.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await _listen(context, functools.partial(self._take, worker, stream))
        finally:
            worker.streams.remove(stream)
            self._streams[worker.lane_key].remove(stream)
            worker.left_at = time.monotonic()
            sending.cancel()
            self._take_back(stream.handed_over.values())
            if not self._streams[worker.lane_key] and (lane := self._find_lane(*worker.lane_key)) is not None:
                self._on_cut_off(lane)
        await stream.flush()

    def hand_over(self, ticket: Ticket) -> bool:
        """Give a request to an idle model process, past the lane; False when there is none."""
        version = ticket.lane.version
        for stream in self._streams.get((version.model, version.version), ()):
            if stream.takes_requests:
                stream.hand_over(ticket)
                return True
        return False

    def take_back(self, *, before_ns: int) -> None:
        """Put into their lanes the requests that were handed over so long ago that who has them may be stuck."""
        for streams in self._streams.values():
            for stream in streams:
                self._take_back([one for one in stream.handed_over.values() if one.sent_ns < before_ns])

    def _take_back(self, tickets: Iterable[Ticket], *, was_seen: bool = True) -> None:
        for ticket in tickets:
            if ticket.key in self._pending and ticket.attempt == 1:
                ticket.attempt += was_seen
                self._on_taken_back(ticket)

    def break_orphans(self, *, gone_for_s: float) -> None:
        """End streams whose model process has been gone for so long that others may have its requests."""
        self._open_streams.break_orphans(self._workers.values(), before=time.monotonic() - gone_for_s)

    def _give_up(self, ticket: Ticket) -> None:
        """Let nobody run a request again of which the caller got a part."""
        self._on_broken(ticket)
        self.cancel(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Tell all processes of a ticket's lane that its caller left."""
        version = ticket.lane.version
        for stream in self._streams.get((version.model, version.version), ()):
            stream.cancel(ticket.key)

    def trim(self) -> None:
        """Let go of shared memory that its owners have removed, and of owners that left long ago."""
        self._forget_old()
        for worker in self._workers.values():
            if worker.reader is not None:
                worker.reader.trim()

    async def flush(self) -> None:
        """Send the receipts that are owed, to whoever takes them at once, before the streams are closed."""
        flushes = [stream.flush() for worker in self._workers.values() for stream in worker.streams]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_RECEIPTS_S):
                await asyncio.gather(*flushes, return_exceptions=True)

    def _greet(self, message: ConnectRequest) -> Worker:
        if message.WhichOneof("message") != "hello" or not message.hello.consumer:
            raise InvalidArgumentError("the first message must be a hello that names its consumer")
        self._forget_old()
        return self._workers.setdefault(message.hello.consumer, Worker(message.hello))

    def _forget_old(self) -> None:
        now = time.monotonic()
        for consumer, worker in list(self._workers.items()):
            if not worker.streams and now - worker.left_at > _FORGET_AFTER_S:
                del self._workers[consumer]
                if worker.reader is not None:
                    worker.reader.close()  # garbage is collected rarely, descriptors are few

    def _take(self, worker: Worker, stream: Stream, message: ConnectRequest) -> None:
        kind = message.WhichOneof("message")
        if kind != "batch_reply":
            self._take_other(kind, worker, stream, message)
            return
        if message.batch_reply.sequence < 1:
            raise InvalidArgumentError("expected a batch_reply with a sequence from 1 after the hello")
        batch: BatchReply = message.batch_reply
        stream.note_replies(batch)
        worker.note_batch(batch)
        is_new = worker.window.accept(batch.sequence, is_first_of_stream=stream.is_fresh)
        if is_new and (not worker.is_decoupled or self._open_streams.may_settle(batch.replies, worker)):
            self._pending.settle_batch(batch, self._find_lane(worker.model, worker.version), worker)
        stream.is_fresh = False
        stream.owe_receipt()

    def _take_other(self, kind: str | None, worker: Worker, stream: Stream, message: ConnectRequest) -> None:
        if kind == "refusal":
            ticket = stream.note_refusal(message.refusal.request_key)
            if ticket is not None:
                self._take_back([ticket], was_seen=False)
            return
        if kind != "stream_response" or message.stream_response.sequence < 1:
            raise InvalidArgumentError("expected a reply or a response with a sequence from 1 after the hello")
        response = message.stream_response
        if worker.window.accept(response.sequence, is_first_of_stream=stream.is_fresh):
            self._open_streams.take(response, worker, stream)
        stream.is_fresh = False
        stream.owe_receipt()


async def _listen(context: Any, take: Callable[[Any], None]) -> None:
    """Take every message until the last; at once, where the server can do so, instead of in a task's next turn."""
    if hasattr(context, "listen"):
        await context.listen(take)
        return
    while (message := await context.read()) is not grpc.aio.EOF:
        take(message)
