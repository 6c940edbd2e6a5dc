"""One reply stream to one gateway, kept open over breaks; nothing counts as delivered without a receipt."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from penstock.gateway.v1 import payload_service_pb2 as payload_pb
from penstock.gateway.v1 import reply_service_pb2 as pb
from penstock.gateway.v1.payload_service_pb2_grpc import PayloadServiceStub
from penstock.gateway.v1.reply_service_pb2_grpc import ReplyServiceStub
from services.common.errors import DataLossError, UnavailableError
from services.common.serving import CHANNEL_OPTIONS
from services.inference.model_process.lane import Delivery

_log = logging.getLogger(__name__)

GONE_AFTER_S = 10.0
FORGOTTEN_AFTER_S = 90.0
"""When a link ends; longer than gateways remember a consumer, since the next one counts from 1 again."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_WELCOME_S = 5.0
_FETCH_S = 30.0
_OPTIONS = [
    *CHANNEL_OPTIONS,
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Each link has a connection of its own: one that is broken must not slow another's coming back.
    ("grpc.use_local_subchannel_pool", 1),
]

Message = tuple[pb.ConnectRequest, Sequence[Delivery]]


class ReplyLink:
    """Sends batch replies to the gateway process ``gateway_id`` at ``address``.

    ``on_settled`` gets deliveries once the gateway has their replies, or nobody waits for them any more;
    ``on_cancelled`` gets keys of requests whose callers left. ``run`` is the link's life. ``is_gone`` while nobody can
    take replies; ``is_replaced`` when that is for good, since another process answers at the address.
    """

    def __init__(
        self,
        address: str,
        gateway_id: str,
        *,
        hello: pb.Hello,
        on_settled: Callable[[Sequence[Delivery]], None],
        on_cancelled: Callable[[Sequence[int]], None],
    ) -> None:
        self._address = address
        self._gateway_id = gateway_id
        self._hello = pb.ConnectRequest(hello=hello)
        self._on_settled = on_settled
        self._on_cancelled = on_cancelled
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._unacknowledged: deque[Message] = deque()
        self._sent_count = 0
        self._to_send = asyncio.Event()
        self.is_replaced = False
        self._last_contact = asyncio.get_running_loop().time()
        self._last_sequence = 0
        self.is_gone = False
        self.is_drained = asyncio.Event()
        self.is_drained.set()

    def send(self, message: pb.ConnectRequest, deliveries: Sequence[Delivery]) -> None:
        """Send a batch reply, now or as soon as the gateway can be reached. Numbers it."""
        if self.is_gone:
            self._on_settled(deliveries)
            return
        self._last_sequence += 1
        message.batch_reply.sequence = self._last_sequence
        self._unacknowledged.append((message, deliveries))
        self.is_drained.clear()
        self._to_send.set()

    async def run(self) -> None:
        """Keep the stream up until the gateway is gone for good; then returns. Closes the channel."""
        loop, pause_s = asyncio.get_running_loop(), _FIRST_PAUSE_S
        try:
            while not self.is_replaced and loop.time() - self._last_contact < FORGOTTEN_AFTER_S:
                before = self._last_contact
                try:
                    await self._converse()
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
                    _log.debug("reply stream to %s broke: %r", self._address, error)
                except asyncio.CancelledError:
                    # Reading raises this too when the call was cancelled: writing failed.
                    if (me := asyncio.current_task()) is None or me.cancelling():
                        raise
                if loop.time() - self._last_contact > GONE_AFTER_S or self.is_replaced:
                    self._give_up()
                pause_s = _FIRST_PAUSE_S if self._last_contact > before else min(2 * pause_s, _LONGEST_PAUSE_S)
                if not self.is_replaced:
                    await asyncio.sleep(pause_s)
        finally:
            await self._channel.close()

    async def _converse(self) -> None:
        """One stream: from Hello until it breaks."""
        call = ReplyServiceStub(self._channel).Connect()
        try:
            async with asyncio.timeout(_WELCOME_S):
                await call.write(self._hello)
                first = await call.read()
            if first is grpc.aio.EOF:
                return
            self._welcomed(first.welcome)
            if self.is_replaced:
                return
            writer = asyncio.create_task(self._write(call), name=f"replies to {self._address}")
            writer.add_done_callback(lambda _: call.cancel())  # half a stream is of no use
            try:
                await self._read(call)
            finally:
                self._last_contact = asyncio.get_running_loop().time()  # one may be silent for long before it breaks
                writer.cancel()
                (outcome,) = await asyncio.gather(writer, return_exceptions=True)
                if not isinstance(outcome, (asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                    _log.error("a reply to %s can't be written, trying again: %r", self._address, outcome)
        finally:
            call.cancel()

    def _welcomed(self, welcome: pb.Welcome) -> None:
        self.is_replaced = welcome.gateway_id != self._gateway_id
        self.is_gone = self.is_replaced
        self._last_contact = asyncio.get_running_loop().time()
        self._sent_count = 0
        self._to_send.set()

    async def _write(self, call: Any) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._sent_count < len(self._unacknowledged):
                message, _ = self._unacknowledged[self._sent_count]
                self._sent_count += 1
                await call.write(message)

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            if message.HasField("receipt"):
                self._received(message.receipt.sequence)
            elif message.HasField("cancellation"):
                self._on_cancelled(message.cancellation.request_keys)

    def _received(self, sequence: int) -> None:
        """Settle what the gateway has, up to this number; a receipt for what was not sent yet is not believed."""
        while self._sent_count and self._unacknowledged[0][0].batch_reply.sequence <= sequence:
            _, deliveries = self._unacknowledged.popleft()
            self._sent_count -= 1
            self._on_settled(deliveries)
        if not self._unacknowledged:
            self.is_drained.set()

    def _give_up(self) -> None:
        """Nobody waits for these replies any more."""
        if not self.is_gone or self._unacknowledged:
            _log.info("the gateway at %s is gone, with %d replies unsent", self._address, len(self._unacknowledged))
        self.is_gone = True
        while self._unacknowledged:
            self._on_settled(self._unacknowledged.popleft()[1])
        self._sent_count = 0
        self.is_drained.set()

    async def fetch(self, request_key: int, size: int) -> bytes | None:
        """Bytes of a request that stayed with the gateway; None when it was settled meanwhile.

        Raises:
            UnavailableError: the gateway can't be reached.
            DataLossError: it sent another number of bytes.
        """
        request = payload_pb.FetchRequest(gateway_id=self._gateway_id, request_key=request_key)
        chunks = bytearray()
        try:
            async for response in PayloadServiceStub(self._channel).Fetch(request, timeout=_FETCH_S):
                chunks += response.chunk
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise UnavailableError(f"the request's {size} bytes can't be fetched from its gateway") from error
        if len(chunks) != size:
            raise DataLossError(f"got {len(chunks)} bytes of a request from its gateway, expected {size}")
        return bytes(chunks)
