"""One gRPC call that came over ASGI, with the context that a servicer sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, NoReturn

import grpc

from services.gateway.fronts import grpc_wire as wire

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HEADERS: wire.Headers = [
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", wire.ACCEPTED_ENCODINGS),
]
_START = {"type": "http.response.start", "status": 200, "headers": _HEADERS, "trailers": True}
_OK = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False}

_FIRST_LOOK_S = 0.1
_LAST_PAUSE_S = 1.0


class Call(grpc.aio.ServicerContext[Any, Any]):
    """Reads messages, writes messages and ends the call once; belongs to the task that runs it.

    The host gives no sign when the caller of a waiting call leaves, but says so when asked: see :meth:`look`.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, limit: int) -> None:
        """``limit`` is the largest message to take, in bytes.

        Raises:
            StatusError: later, from :meth:`open`, when a header is not what it must be.
        """
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call belongs to a task")
        self.task = task
        self._arrived = time.monotonic()
        self._pause_s = _FIRST_LOOK_S
        self._next_look = self._arrived + _FIRST_LOOK_S
        self._head = wire.Head()
        self._buffer = bytearray()
        self._initial: wire.Headers | None = None
        self._trailing: Iterable[tuple[str, str | bytes]] = ()
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._callbacks: list[Callable[[Any], None]] = []
        self._is_read = self._is_started = self._is_done = False
        self.deadline: float | None = None
        """When the caller waits no more, by the monotonic clock."""
        self.ended: wire.StatusError | None = None
        """Why the call's task was cancelled from here; None: it wasn't."""

    def open(self) -> None:
        """Read the headers."""
        self._head = wire.read_head(self._scope["headers"])
        if self._head.timeout_s is not None:
            self.deadline = self._arrived + self._head.timeout_s

    # What the server uses

    async def read_only(self) -> bytes:
        """The one message of a unary request."""
        event = await self._receive()
        body = event.get("body", b"")
        if event.get("more_body") or event["type"] != "http.request":
            body = await self._gather(event)
        self._is_read = True
        if len(body) < wire.PREFIX_BYTES:
            raise wire.StatusError(grpc.StatusCode.INTERNAL, f"got {len(body)} bytes, expected one message")
        length = wire.check_length(body, self._limit)
        if length != len(body) - wire.PREFIX_BYTES:
            raise wire.StatusError(
                grpc.StatusCode.INTERNAL,
                f"got {len(body) - wire.PREFIX_BYTES} bytes, expected one message of {length}",
            )
        return self._unpacked(body[0], body[wire.PREFIX_BYTES :])

    def _unpacked(self, flag: int, payload: bytes) -> bytes:
        return payload if flag == 0 else wire.unpack(flag, payload, self._head.encoding, self._limit)

    async def _gather(self, event: MutableMapping[str, Any]) -> bytes:
        """A body that comes in pieces; what is too large is refused after its first ones."""
        pieces: list[bytes] = []
        size, is_checked = 0, False
        while True:
            if event["type"] != "http.request":
                await self._leave()
            pieces.append(event.get("body", b""))
            size += len(pieces[-1])
            if not is_checked and size >= wire.PREFIX_BYTES:
                wire.check_length(b"".join(pieces)[: wire.PREFIX_BYTES], self._limit)
                is_checked = True
            if size > self._limit + wire.PREFIX_BYTES:
                raise wire.too_large(size - wire.PREFIX_BYTES, self._limit)
            if not event.get("more_body"):
                return b"".join(pieces)
            event = await self._receive()

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages of a request stream, as they come."""
        while (message := await self._next()) is not None:
            yield message

    async def _next(self) -> bytes | None:
        buffer = self._buffer
        while True:
            if len(buffer) >= wire.PREFIX_BYTES:
                end = wire.PREFIX_BYTES + wire.check_length(buffer, self._limit)
                if len(buffer) >= end:
                    flag, payload = buffer[0], bytes(memoryview(buffer)[wire.PREFIX_BYTES : end])
                    del buffer[:end]
                    return self._unpacked(flag, payload)
            if self._is_read:
                if buffer:
                    raise wire.StatusError(grpc.StatusCode.INTERNAL, f"the stream ends within a message: {len(buffer)}")
                return None
            event = await self._receive()
            if event["type"] != "http.request":
                await self._leave()
            buffer += event.get("body", b"")
            self._is_read = not event.get("more_body")

    async def finish(self, message: bytes | None = None) -> None:
        """End the call with the status that was set, after one more message if there is one."""
        code = self._code or grpc.StatusCode.OK
        if message is None and not self._is_started:
            await self._refuse(code)
            return
        if not self._is_started:
            await self._start()
        self._end()
        body = b"" if message is None else wire.frame(message)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        if code is grpc.StatusCode.OK and not self._trailing:
            await self._send(_OK)
            return
        trailers = wire.status_headers(code, self._details, self._trailing)
        await self._send({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})

    async def _refuse(self, code: grpc.StatusCode) -> None:
        """A status without any message is the whole response's head."""
        self._end()
        headers = [*_HEADERS, *wire.status_headers(code, self._details, self._trailing)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with an error."""
        self._code, self._details = code, details
        if not self._is_done:
            await self.finish()

    def _end(self) -> None:
        self._is_done = True
        for callback in self._callbacks:
            callback(self)

    async def _start(self) -> None:
        self._is_started = True
        await self._send(_START if not self._initial else {**_START, "headers": [*_HEADERS, *self._initial]})

    # What the server's sweep uses

    def is_late(self, now: float, *, leeway_s: float) -> bool:
        """Whether the deadline is over and whoever answers the call has not ended it either."""
        return self.deadline is not None and now > self.deadline + leeway_s

    def is_to_look(self, now: float) -> bool:
        """Whether to ask for the caller now: less and less often, and never while the request is being read."""
        if not self._is_read or now < self._next_look:
            return False
        self._pause_s = min(2 * self._pause_s, _LAST_PAUSE_S)
        self._next_look = now + self._pause_s
        return True

    async def look(self) -> None:
        """Ask the host whether the caller is still there; end the call if not."""
        if (await self._receive())["type"] == "http.disconnect":
            self.end(grpc.StatusCode.CANCELLED, "the caller left")

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Cancel the task that runs the call; then it ends with this status, if somebody is there to hear it."""
        if self.ended is None and not self._is_done:
            self.ended = wire.StatusError(code, details)
            self.task.cancel()

    async def break_off(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """As :meth:`end`, from within the task: a servicer is to see its cancellation, not an error of ours."""
        self.end(code, details)
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def _leave(self) -> NoReturn:
        await self.break_off(grpc.StatusCode.CANCELLED, "the caller left")

    # What servicers use

    async def read(self) -> Any:
        message = await self._next()
        return grpc.aio.EOF if message is None else message

    async def write(self, message: Any) -> None:
        if not self._is_started:
            await self._start()
        try:
            await self._send({"type": "http.response.body", "body": wire.frame(message), "more_body": True})
        except OSError:  # as ASGI has it
            await self._leave()

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._initial = wire.headers_of(initial_metadata)
        await self._start()
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})

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
        return self._head.metadata

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
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def peer(self) -> str:
        client = self._scope.get("client")
        if client is None:
            return "unknown"
        return f"ipv6:%5B{client[0]}%5D:{client[1]}" if ":" in client[0] else f"ipv4:{client[0]}:{client[1]}"

    def peer_identities(self) -> None:
        return None

    def peer_identity_key(self) -> None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        return self.ended is not None

    def done(self) -> bool:
        return self._is_done
