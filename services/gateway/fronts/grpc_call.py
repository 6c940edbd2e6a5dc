"""One gRPC call on an HTTP/2 stream, with the context that a servicer sees."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc_status import rpc_status

from services.common.boundary import status_of
from services.common.http2 import Connection, Headers, Stream, encode
from services.gateway.fronts import grpc_wire as wire

if TYPE_CHECKING:
    from services.gateway.fronts.grpc_server import GrpcServer, Route

_log = logging.getLogger(__name__)

_HEAD_FIELDS: wire.Fields = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", wire.ACCEPTED_ENCODINGS),
]
_HEAD = encode(_HEAD_FIELDS)
_OK = encode(wire.status_fields(grpc.StatusCode.OK, ""))
_COMMON_NAME, _ALTERNATIVE_NAME = "x509_common_name", "x509_subject_alternative_name"
_prefix = struct.Struct(">BI").pack


class Call(Stream):
    """Reads messages, writes messages and ends the call once; the servicer runs in a task of its own.

    A deadline that passes and a caller that leaves cancel that task at once.
    """

    __slots__ = (
        "_arrived", "_buffer", "_callbacks", "_code", "_deferred", "_details", "_is_read", "_is_started", "_leave",
        "_listener", "_messages", "_parts", "_reading", "_route", "_server", "_size", "_trailing", "deadline",
        "ended", "is_done", "task",
    )  # fmt: skip

    def __init__(self, server: GrpcServer, connection: Connection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self._server = server
        self._route: Route
        self._parts: list[bytes | memoryview] | None = None
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: Iterable[tuple[str, str | bytes]] = ()
        self._callbacks: list[Callable[[Any], None]] | None = None
        self._leave: Callable[[], None] | None = None
        self._is_started = self._is_read = self.is_done = False
        self.task: asyncio.Task[None] | None = None
        self.deadline: float | None = None
        """When the caller waits no more, by the event loop's clock."""
        self.ended: wire.StatusError | None = None
        """Why the servicer was cancelled from here; None: it wasn't."""

    # What the connection says

    def on_headers(self, headers: Headers, *, is_last: bool) -> None:
        route: Route = headers.memo or self._server.route(headers)
        self._route = route
        if route.http_status:
            self.send_headers(encode([(b":status", b"%d" % route.http_status)]), is_last=True)
            return
        if route.fault is not None:
            self.fail(route.fault.code, route.fault.details)
            return
        if route.timeout_s is not None:
            self.deadline = self.connection.loop.time() + route.timeout_s
            self._server.deadlines.add(self, self.deadline)
        if route.is_request_streaming:
            self._messages: deque[bytes] = deque()
            self._buffer = bytearray()
            self._deferred = 0
            self._reading: asyncio.Future[None] | None = None
            self._listener: Callable[[Any], None] | None = None
            self._is_read = is_last
            self._start(self._serve(self._requests()))
        elif is_last:
            self._take_whole(b"")

    def on_data(self, data: bytes | memoryview, *, is_last: bool) -> int:
        if self.is_done or self.ended is not None:
            return len(data)
        if self._route.is_request_streaming:
            return self._take_piece(data, is_last=is_last)
        if self._parts is None:
            if is_last:
                self._take_whole(data)
                return len(data)
            self._parts, self._size = [], 0
        self._gather(self._parts, data, is_last=is_last)
        return len(data)

    def on_trailers(self, headers: Headers) -> None:  # noqa: ARG002 - gRPC has none from clients
        self.on_data(b"", is_last=True)

    def on_closed(self, code: int, text: str) -> None:  # noqa: ARG002 - all codes mean the same here
        self.end(grpc.StatusCode.CANCELLED, text)

    # A unary request

    def _take_whole(self, body: bytes | memoryview) -> None:
        length = len(body) - wire.PREFIX_BYTES
        if length < 0 or body[0] or length > self._server.limit or int.from_bytes(body[1:5], "big") != length:
            try:
                message = self._unusual(body)
            except wire.StatusError as error:
                self.fail(error.code, error.details)
                return
        else:
            message = bytes(body[wire.PREFIX_BYTES :])
        self._take_message(message)

    def _take_message(self, message: bytes) -> None:
        if self._route.direct is not None:
            try:
                self._leave = self._route.direct(message, self)
            except Exception as error:  # noqa: BLE001 - a bug ends the call, not the connection
                self._fail(error)
        elif self._route.is_response_streaming:
            self._start(self._serve(message))
        else:
            self._start(self._serve_unary(message))

    def _unusual(self, body: bytes | memoryview) -> bytes:
        """A message that is compressed, or none."""
        if len(body) < wire.PREFIX_BYTES:
            raise wire.StatusError(grpc.StatusCode.INTERNAL, f"got {len(body)} bytes, expected one message")
        length, got = wire.check_length(body, self._server.limit), len(body) - wire.PREFIX_BYTES
        if length != got:
            raise wire.StatusError(grpc.StatusCode.INTERNAL, f"got {got} bytes, expected one message of {length}")
        return self._unpacked(body[0], bytes(body[wire.PREFIX_BYTES :]))

    def _gather(self, parts: list[bytes | memoryview], data: bytes | memoryview, *, is_last: bool) -> None:
        """A body that comes in pieces; what is too large is refused after its first ones."""
        parts.append(data)
        before, self._size = self._size, self._size + len(data)
        if before < wire.PREFIX_BYTES <= self._size:
            length = int.from_bytes(b"".join(parts)[1 : wire.PREFIX_BYTES], "big")
            if length > self._server.limit:
                self.fail(*wire.too_large(length, self._server.limit).status)
                return
        if self._size > self._server.limit + wire.PREFIX_BYTES:
            self.fail(*wire.too_large(self._size - wire.PREFIX_BYTES, self._server.limit).status)
        elif is_last:
            self._take_parts(parts)

    def _take_parts(self, parts: list[bytes | memoryview]) -> None:
        self._parts = None
        first = parts[0]
        if len(first) < wire.PREFIX_BYTES or first[0]:
            self._take_whole(b"".join(parts))
            return
        length, got = int.from_bytes(first[1 : wire.PREFIX_BYTES], "big"), self._size - wire.PREFIX_BYTES
        if length != got:
            self.fail(grpc.StatusCode.INTERNAL, f"got {got} bytes, expected one message of {length}")
            return
        parts[0] = memoryview(first)[wire.PREFIX_BYTES :]
        self._take_message(b"".join(parts))

    def _unpacked(self, flag: int, payload: bytes) -> bytes:
        return payload if flag == 0 else wire.unpack(flag, payload, self._route.encoding, self._server.limit)

    # A stream of requests

    def _take_piece(self, data: bytes | memoryview, *, is_last: bool) -> int:
        buffer = self._buffer
        buffer += data
        try:
            while len(buffer) >= wire.PREFIX_BYTES:
                end = wire.PREFIX_BYTES + wire.check_length(buffer, self._server.limit)
                if len(buffer) < end:
                    break
                flag, payload = buffer[0], bytes(memoryview(buffer)[wire.PREFIX_BYTES : end])
                del buffer[:end]
                message = self._unpacked(flag, payload)
                if self._listener is None:
                    self._messages.append(message)
                else:
                    self._tell(self._listener, message)
            if is_last and buffer:
                raise wire.StatusError(grpc.StatusCode.INTERNAL, f"the stream ends within a message: {len(buffer)}")
        except wire.StatusError as error:
            self.end(error.code, error.details)
            return len(data)
        self._is_read = is_last
        if (is_last or self._messages) and self._reading is not None and not self._reading.done():
            self._reading.set_result(None)
        if self._messages:
            self._deferred += len(data)
            return 0
        return len(data)

    def _tell(self, listener: Callable[[Any], None], message: bytes) -> None:
        try:
            listener(message if self._route.deserialize is None else self._route.deserialize(message))
        except Exception as error:  # noqa: BLE001 - it is raised in the servicer
            self._listener = None
            if self._reading is not None and not self._reading.done():
                self._reading.set_exception(error)

    async def listen(self, take: Callable[[Any], None]) -> None:
        """Call ``take`` with every message as it comes off the socket; returns when the caller has sent the last one.

        What ``take`` raises is raised here, and so is what a message raises that can't be read.
        """
        while self._messages:
            take(await self.read())
        self._listener = take
        if not self._is_read:
            self._reading = self.connection.loop.create_future()
            await self._reading

    async def _next(self) -> bytes | None:
        while not self._messages:
            if self._is_read:
                return None
            if self._reading is None:
                self._reading = self.connection.loop.create_future()
            await asyncio.shield(self._reading)
            self._reading = None
        message = self._messages.popleft()
        if not self._messages and self._deferred:
            size, self._deferred = self._deferred, 0
            self.consumed(size)
        return message

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self._next()) is not None:
            yield await self._parsed(message)

    async def _parsed(self, message: bytes) -> Any:
        if self._route.deserialize is None:
            return message
        try:
            return self._route.deserialize(message)
        except Exception as error:  # noqa: BLE001 - whatever a deserialiser raises, the message was bad
            _log.info("a request could not be read: %s", error)
        if not self._route.is_request_streaming:
            raise wire.StatusError(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        self.end(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        await asyncio.sleep(0)  # a servicer is to see its cancellation, not an error of ours
        raise asyncio.CancelledError

    # Running the servicer

    def _start(self, serving: Any) -> None:
        self.task = asyncio.Task(serving, loop=self.connection.loop, name="call")

    async def _serve_unary(self, message: bytes) -> None:
        route = self._route
        try:
            request = message if route.deserialize is None else await self._parsed(message)
            response = await route.behavior(request, self)
            body = response if route.serialize is None else route.serialize(response)
        except BaseException as error:  # noqa: BLE001 - the last boundary: servicers have their own
            self._fail(error)
        else:
            self.set_result(body)

    async def _serve(self, request: Any) -> None:
        """Send what a servicer yields; one that writes to its context is only waited for."""
        route = self._route
        try:
            if not route.is_request_streaming:
                request = await self._parsed(request)
            answers = route.behavior(request, self)
            if not route.is_response_streaming:
                self.set_result(self._serialized(await answers))
                return
            if hasattr(answers, "__aiter__"):
                async with contextlib.aclosing(answers):
                    async for answer in answers:
                        await self.write(answer)
            else:
                await answers
        except BaseException as error:  # noqa: BLE001 - the last boundary: servicers have their own
            self._fail(error)
        else:
            self._finish()

    def _serialized(self, message: Any) -> bytes:
        return message if self._route.serialize is None else self._route.serialize(message)

    def set_result(self, body: bytes) -> None:
        """End the call with its one response."""
        if self._code is None and not self._trailing and not self._is_started:
            self._end()
            self.respond(_HEAD, _prefix(0, len(body)), body, _OK)
            return
        if not self._is_started:
            self._send_head()
        self.send_data(_prefix(0, len(body)), body)
        self._finish()

    def _finish(self) -> None:
        """End the call with the status that was set."""
        if self.is_done:
            return
        self._end()
        fields = wire.status_fields(self._code or grpc.StatusCode.OK, self._details, self._trailing)
        if not self._is_started:  # a status without any message is the whole response's head
            fields = _HEAD_FIELDS + fields
        self.send_headers(encode(fields), is_last=True)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            if self.ended is None:
                self.fail(grpc.StatusCode.CANCELLED, "the servicer was cancelled")
                raise error
            self.fail(self.ended.code, self.ended.details)
        elif isinstance(error, wire.StatusError):
            self.fail(error.code, error.details)
        elif isinstance(error, grpc.aio.AbortError):
            self._finish()
        elif isinstance(error, Exception):
            _log.error("unexpected error in a servicer", exc_info=error)
            self.fail(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")
        else:
            raise error

    def set_exception(self, error: Exception) -> None:
        """End the call with the rich status of an error."""
        status: Any = rpc_status.to_status(status_of(error))
        self._trailing = status.trailing_metadata
        self.fail(status.code, status.details)

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with an error."""
        self._code, self._details = code, details
        self._finish()

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Cancel the servicer; then the call ends with this status, if somebody is there to hear it."""
        if self.ended is None and not self.is_done:
            self.ended = wire.StatusError(code, details)
            if self.task is None:
                leave = self._leave
                self.fail(code, details)
                if leave is not None:
                    leave()
            else:
                self._server.keep(self.task)
                self.task.add_done_callback(self._conclude)
                self.task.cancel()

    def _conclude(self, _task: asyncio.Task[None]) -> None:
        """A task that was cancelled before its first step has answered nobody."""
        if self.ended is not None:
            self.fail(self.ended.code, self.ended.details)

    def _end(self) -> None:
        self.is_done = True
        self._leave = None  # it may know this call: nothing is to be left to the garbage collector
        if self.deadline is not None:
            self._server.deadlines.remove(self, self.deadline)
        if self._callbacks is not None:
            for callback in self._callbacks:
                callback(self)

    def _send_head(self, metadata: Iterable[tuple[str, str | bytes]] = ()) -> None:
        self._is_started = True
        self.send_headers(encode(_HEAD_FIELDS + wire.metadata_fields(metadata)) if metadata else _HEAD)

    # What servicers use, as grpc.aio.ServicerContext has it

    async def read(self) -> Any:
        message = await self._next()
        return grpc.aio.EOF if message is None else await self._parsed(message)

    async def write(self, message: Any) -> None:
        if self.is_done or not self.is_open:
            raise grpc.aio.UsageError("the call has ended")
        if not self._is_started:
            self._send_head()
        body = self._serialized(message)
        self.send_data(_prefix(0, len(body)), body)
        if not self.is_drained:
            await self.drain()

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._send_head(initial_metadata)

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        self._code, self._details = code, details
        self._trailing = trailing_metadata or self._trailing
        raise grpc.aio.AbortError(details)

    async def abort_with_status(self, status: Any) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = trailing_metadata

    def trailing_metadata(self) -> Any:
        return self._trailing

    def invocation_metadata(self) -> Any:
        return self._route.metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code

    def set_details(self, details: str) -> None:
        self._details = details

    def details(self) -> str:
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing: responses are never compressed, as a client must accept."""

    def disable_next_message_compression(self) -> None:
        """Nothing: responses are never compressed."""

    def time_remaining(self) -> Any:
        return None if self.deadline is None else max(0.0, self.deadline - self.connection.loop.time())

    def peer(self) -> str:
        host, port = (self.connection.extra_info("peername") or ("unknown", 0))[:2]
        return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def peer_identities(self) -> Iterable[bytes] | None:
        return self.auth_context().get(self.peer_identity_key() or "")

    def peer_identity_key(self) -> str | None:
        known = self.auth_context()
        return next((key for key in (_ALTERNATIVE_NAME, _COMMON_NAME) if key in known), None)

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        if self.connection.extra_info("ssl_object") is None:
            return {}
        known: dict[str, list[bytes]] = {"transport_security_type": [b"ssl"]}
        shown = self.connection.extra_info("ssl_object").getpeercert() or {}
        fields = dict(field for part in shown.get("subject", ()) for field in part)
        if "commonName" in fields:
            known[_COMMON_NAME] = [fields["commonName"].encode()]
        if "subjectAltName" in shown:
            known[_ALTERNATIVE_NAME] = [value.encode() for _, value in shown["subjectAltName"]]
        return known

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks = [*(self._callbacks or ()), callback]

    def cancelled(self) -> bool:
        return self.ended is not None

    def done(self) -> bool:
        return self.is_done


grpc.aio.ServicerContext.register(Call)
