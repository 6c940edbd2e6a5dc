"""One reply stream to one gateway, kept open over breaks; nothing counts as delivered without a receipt."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.gateway.v1 import payload_service_pb2 as payload_pb
from penstock.gateway.v1 import reply_service_pb2 as pb
from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.errors import DataLossError, UnavailableError
from services.common.grpc_stream import NOT_FOUND, OK, CallEndedError, GrpcStream
from services.common.http2 import Connection, Limits, connect
from services.common.payloads import PayloadReader, Reference
from services.inference.model_process.lane import Delivery

_log = logging.getLogger(__name__)

GONE_AFTER_S = 10.0
FORGOTTEN_AFTER_S = 90.0
"""When a link ends; longer than gateways remember a consumer, since the next one counts from 1 again."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_WELCOME_S = 5.0
_FETCH_S = 30.0
_FETCH_PAUSE_S = 0.5
"""How often who waits for a connection looks whether the gateway is gone."""
_LIMITS = Limits(keepalive_s=10.0, keepalive_timeout_s=5.0)
_CONNECT = "/penstock.gateway.v1.ReplyService/Connect"
_FETCH = "/penstock.gateway.v1.PayloadService/Fetch"


@dataclass(slots=True)
class Message:
    """What has no receipt yet, as it goes over the wire."""

    sequence: int
    content: bytes
    deliveries: Sequence[Delivery]


class ReplyLink:
    """Sends batch replies to the gateway process ``gateway_id`` at ``address``.

    ``on_settled`` gets deliveries once the gateway has their replies, or nobody waits for them any more;
    ``on_cancelled`` gets keys of requests whose callers left, ``on_handover`` requests past the lane, and says
    whether it takes them; ``on_consumed`` hears how far callers of streams have come. ``run`` is the link's life.
    ``is_gone`` while nobody can take replies, which ``on_gone`` is told; ``is_replaced`` when that is for good, since
    another process answers at the address.
    """

    def __init__(
        self,
        address: str,
        gateway_id: str,
        *,
        hello: pb.Hello,
        on_settled: Callable[[Sequence[Delivery]], None],
        on_cancelled: Callable[[Sequence[int]], None],
        on_handover: Callable[[pb.Handover], bool],
        on_consumed: Callable[[pb.Consumption], None] = lambda _: None,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._gateway_id = gateway_id
        self._hello = pb.ConnectRequest(hello=hello).SerializeToString()
        self._on_settled = on_settled
        self._on_cancelled = on_cancelled
        self._on_handover = on_handover
        self._on_consumed = on_consumed
        self._on_gone = on_gone
        self._stream: GrpcStream | None = None
        """Where replies go; None while nobody can take them."""
        self._connection: Connection | None = None
        self._is_connected = asyncio.Event()
        self._unacknowledged: deque[Message] = deque()
        self.is_replaced = False
        self.reads_our_store = False
        self._reader: PayloadReader | None = None
        self._last_contact = asyncio.get_running_loop().time()
        self._last_sequence = 0
        self.is_gone = False
        self.is_drained = asyncio.Event()
        self.is_drained.set()

    def send(
        self, request: pb.ConnectRequest, deliveries: Sequence[Delivery], *, is_stream_response: bool = False
    ) -> None:
        """Send a batch reply, or a stream's response, now or as soon as the gateway can be reached. Numbers it."""
        reply = request.stream_response if is_stream_response else request.batch_reply
        if self.is_gone:
            self._on_settled(deliveries)
            return
        self._last_sequence += 1
        reply.sequence = self._last_sequence
        message = Message(reply.sequence, request.SerializeToString(), deliveries)
        self._unacknowledged.append(message)
        self.is_drained.clear()
        if self._stream is not None:
            self._stream.send(message.content)

    async def run(self) -> None:
        """Keep the stream up until the gateway is gone for good; then returns."""
        loop, pause_s = asyncio.get_running_loop(), _FIRST_PAUSE_S
        while not self.is_replaced and loop.time() - self._last_contact < FORGOTTEN_AFTER_S:
            before = self._last_contact
            try:
                await self._converse()
            except (OSError, TimeoutError, CallEndedError) as error:
                _log.debug("reply stream to %s broke: %r", self._address, error)
            except Exception:  # noqa: BLE001 - whatever it was, the next stream may do better
                _log.exception("reply stream to %s failed, trying again", self._address)
            if loop.time() - self._last_contact > GONE_AFTER_S or self.is_replaced:
                self._give_up()
            pause_s = _FIRST_PAUSE_S if self._last_contact > before else min(2 * pause_s, _LONGEST_PAUSE_S)
            if not self.is_replaced:
                await asyncio.sleep(pause_s)

    async def _converse(self) -> None:
        """One stream: from Hello until it breaks."""
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        welcome: asyncio.Future[pb.Welcome] = loop.create_future()

        def hear(content: bytes) -> None:
            message = pb.ConnectResponse.FromString(content)
            if message.HasField("handover"):
                self._take_handover(message.handover, stream)
            elif message.HasField("receipt"):
                self._received(message.receipt.sequence)
            elif message.HasField("cancellation"):
                self._on_cancelled(message.cancellation.request_keys)
            elif message.HasField("consumption"):
                self._on_consumed(message.consumption)
            elif not welcome.done():
                welcome.set_result(message.welcome)

        try:
            async with asyncio.timeout(_WELCOME_S):
                host, _, port = self._address.rpartition(":")
                connection = await connect(host.strip("[]"), int(port), limits=_LIMITS)
                stream = GrpcStream(connection, _CONNECT, authority=self._address, on_message=hear)
                stream.send(self._hello)
                await asyncio.wait((welcome, stream.ended), return_when=asyncio.FIRST_COMPLETED)
            if welcome.done():
                self._welcomed(welcome.result(), connection, stream)
            raise await stream.ended
        finally:
            if self._stream is not None:
                self._stream, self._connection = None, None
                self._is_connected.clear()
                self._last_contact = loop.time()  # one may be silent for long before it breaks
            if connection is not None:
                connection.abort()

    def _welcomed(self, welcome: pb.Welcome, connection: Connection, stream: GrpcStream) -> None:
        self.is_replaced = self.is_gone = welcome.gateway_id != self._gateway_id
        self._last_contact = asyncio.get_running_loop().time()
        if self.is_replaced:
            raise CallEndedError(OK, "another gateway answers")
        self.reads_our_store = welcome.is_payload_store_readable
        self._stream, self._connection = stream, connection
        self._is_connected.set()
        for message in self._unacknowledged:
            stream.send(message.content)

    def _take_handover(self, handover: pb.Handover, stream: GrpcStream) -> None:
        if not self._on_handover(handover):
            refusal = pb.Refusal(request_key=handover.envelope.request_key)
            stream.send(pb.ConnectRequest(refusal=refusal).SerializeToString())

    def _received(self, sequence: int) -> None:
        """Settle what the gateway has, up to this number; a receipt for what was not sent yet is not believed."""
        waiting = self._unacknowledged
        while self._stream is not None and waiting and waiting[0].sequence <= sequence:
            self._on_settled(waiting.popleft().deliveries)
        if not waiting:
            self.is_drained.set()

    def _give_up(self) -> None:
        """Nobody waits for these replies any more."""
        if not self.is_gone or self._unacknowledged:
            _log.info("the gateway at %s is gone, with %d replies unsent", self._address, len(self._unacknowledged))
        self.is_gone = True
        self._on_gone()
        while self._unacknowledged:
            self._on_settled(self._unacknowledged.popleft().deliveries)
        self.is_drained.set()

    def view(self, envelope: Envelope) -> memoryview | None:
        """Bytes of a request that are in the gateway's shared memory, as far as they can be reached there."""
        if not envelope.payload_use:
            return None
        if self._reader is None:
            self._reader = PayloadReader.of(self._gateway_id)
            if self._reader is None:
                return None
        reference = Reference(envelope.payload_buffer, envelope.payload_use)
        return self._reader.view(reference, envelope.payload_bytes)

    def trim(self) -> bool:
        """Let go of shared memory that the gateway has removed; whether there is more."""
        return self._reader is not None and self._reader.trim()

    async def fetch(self, request_key: int, size: int) -> bytes | None:
        """Bytes of a request that stayed with the gateway; None when it was settled meanwhile.

        Where the gateway can't be reached, it is tried again until it counts as gone.

        Raises:
            UnavailableError: the gateway is gone, or takes too long.
            DataLossError: it sent another number of bytes.
        """
        request = payload_pb.FetchRequest(gateway_id=self._gateway_id, request_key=request_key).SerializeToString()
        ended: Exception | None = None
        chunks: list[bytes] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FETCH_S):
                while ended is None and not self.is_gone:
                    chunks.clear()
                    ended = await self._fetch_once(request, chunks)
        if isinstance(ended, CallEndedError) and ended.code == NOT_FOUND:
            return None
        if not isinstance(ended, CallEndedError) or ended.code != OK:
            raise UnavailableError(f"the request's {size} bytes can't be fetched from its gateway") from ended
        content = b"".join(chunks)
        if len(content) != size:
            raise DataLossError(f"got {len(content)} bytes of a request from its gateway, expected {size}")
        return content

    async def _fetch_once(self, request: bytes, chunks: list[bytes]) -> Exception | None:
        """How the call ended; None when there was no connection for it, or that was lost."""
        try:
            async with asyncio.timeout(_FETCH_PAUSE_S):
                await self._is_connected.wait()
        except TimeoutError:
            return None
        connection = self._connection
        if connection is None or connection.is_closing:
            await asyncio.sleep(_FIRST_PAUSE_S)
            return None
        stream = GrpcStream(
            connection,
            _FETCH,
            authority=self._address,
            on_message=lambda content: chunks.append(payload_pb.FetchResponse.FromString(content).chunk),
        )
        try:
            stream.send(request, is_last=True)
            ended = await asyncio.shield(stream.ended)
        finally:
            stream.reset()
        return None if connection.is_lost else ended
