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
    """The call is over. ``code`` is a google.rpc.Code, OK too: the server ended it in order."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (status {code})")
        self.code = code


class GrpcStream(Stream):
    """A call of ``path`` ("/package.Service/Method"). ``on_message`` gets each message of the server, and may raise.

    ``ended`` gets the end of the call as its result, whoever ends it; what ``on_message`` raises is an end too.
    """

    __slots__ = ("_buffer", "_on_message", "ended")

    def __init__(
        self, connection: Connection, path: str, *, authority: str, on_message: Callable[[bytes], None]
    ) -> None:
        super().__init__(connection, connection.next_id())
        self._buffer = bytearray()
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
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _PREFIX_BYTES:
            begin = at + _PREFIX_BYTES
            end = begin + int.from_bytes(buffer[at + 1 : begin], "big")
            if len(buffer) < end:
                break
            try:
                if buffer[at]:
                    raise CallEndedError(UNIMPLEMENTED, "the server compressed a message, which nobody asked for")
                with memoryview(buffer) as view:
                    message = bytes(view[begin:end])
                self._on_message(message)
            except Exception as error:  # noqa: BLE001 - whoever waits for the end of the call gets it
                self._end(error)
                self.reset()
                return len(data)
            at = end
        del buffer[:at]
        if is_last:
            self._end(CallEndedError(UNKNOWN, "the server ended the call without a status"))
        return len(data)

    def on_trailers(self, headers: Headers) -> None:
        self._end_with(headers)

    def on_closed(self, code: int, text: str) -> None:  # noqa: ARG002 - HTTP/2's code says less than the text
        self._end(CallEndedError(UNAVAILABLE, text))

    def _end_with(self, headers: Headers) -> None:
        status = headers.get(b"grpc-status") or b""
        text = unquote((headers.get(b"grpc-message") or b"").decode("ascii", "replace"))
        self._end(CallEndedError(int(status) if status.isdigit() else UNKNOWN, text or "the call ended"))

    def _end(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_result(error)
