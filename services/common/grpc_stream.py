"""The calling side of one gRPC call, on an HTTP/2 stream: serialised messages out and in, nothing between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import unquote

from services.common.http2 import Connection, Headers, Stream, encode

_PREFIX_BYTES = 5
OK = 0
UNKNOWN = 2
NOT_FOUND = 5
UNIMPLEMENTED = 12
UNAVAILABLE = 14


class CallEndedError(Exception):
    """The call is over. ``code`` is a google.rpc.Code, OK too: the server ended it in order. ``retry_after_s``: when it
    said that one may come again; None where it didn't.
    """

    def __init__(self, code: int, text: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(f"{text} (status {code})")
        self.code = code
        self.retry_after_s = retry_after_s


class GrpcStream(Stream):
    """A call of ``path`` ("/package.Service/Method"). ``on_message`` gets each message of the server, and may raise.

    ``ended`` gets the end of the call as its result, whoever ends it; what ``on_message`` raises is an end too.
    """

    __slots__ = ("_missing", "_on_message", "_pieces", "ended")

    def __init__(
        self, connection: Connection, path: str, *, authority: str, on_message: Callable[[bytes], None]
    ) -> None:
        super().__init__(connection, connection.next_id())
        self._pieces: list[bytes | memoryview] = []
        self._missing = _PREFIX_BYTES
        """How many bytes the next message, or its prefix, lacks."""
        self._on_message = on_message
        self.ended: asyncio.Future[Exception] = connection.loop.create_future()
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": authority,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        connection.open(self, encode((name.encode(), value.encode()) for name, value in fields.items()))

    def send(self, message: bytes, *, is_last: bool = False) -> None:
        """Send a message; what the server doesn't take yet is kept. Nothing after the end of the call."""
        self.send_data(b"\0" + len(message).to_bytes(4, "big"), message, is_last=is_last)

    def on_headers(self, headers: Headers, *, is_last: bool) -> None:
        if is_last or headers.get(b":status") != b"200":
            self._end_with(headers)

    def on_data(self, data: bytes | memoryview, *, is_last: bool) -> int:
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            try:
                self._hear(data if len(self._pieces) == 1 else b"".join(self._pieces))
            except Exception as error:  # noqa: BLE001 - whoever waits for the end of the call gets it
                self._end(error)
                self.reset()
                return len(data)
        if is_last:
            self._end(CallEndedError(UNKNOWN, "the server ended the call without a status"))
        return len(data)

    def _hear(self, content: bytes | memoryview) -> None:
        """Take all whole messages, keep the rest until it is one."""
        at, size = 0, len(content)
        while size - at >= _PREFIX_BYTES:
            begin = at + _PREFIX_BYTES
            end = begin + int.from_bytes(content[at + 1 : begin], "big")
            if size < end:
                break
            if content[at]:
                raise CallEndedError(UNIMPLEMENTED, "the server compressed a message, which nobody asked for")
            self._on_message(bytes(content[begin:end]))
            at = end
        rest = size - at
        self._pieces = [content[at:]] if rest else []
        wanted = int.from_bytes(content[at + 1 : at + _PREFIX_BYTES], "big") if rest >= _PREFIX_BYTES else 0
        self._missing = _PREFIX_BYTES + wanted - rest

    def on_trailers(self, headers: Headers) -> None:
        self._end_with(headers)

    def on_closed(self, code: int, text: str) -> None:  # noqa: ARG002 - HTTP/2's code says less than the text
        self._end(CallEndedError(UNAVAILABLE, text))

    def _end_with(self, headers: Headers) -> None:
        status = headers.get(b"grpc-status") or b""
        text = unquote((headers.get(b"grpc-message") or b"").decode("ascii", "replace"))
        after = headers.get(b"retry-after") or b""
        error = CallEndedError(
            int(status) if status.isdigit() else UNKNOWN,
            text or "the call ended",
            retry_after_s=int(after[:9]) if after[:9].isdigit() else None,
        )
        self._end(error)

    def _end(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_result(error)
