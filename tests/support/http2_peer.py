"""The other end of an HTTP/2 connection, in memory: frames go in as bytes, what is answered is read frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpack import Decoder

from services.common.http2 import Connection, Limits, Stream, encode, frames

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x"), (b":authority", b"here")]
NO_SETTINGS = frames.frame(frames.SETTINGS, 0, 0)


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The last long of the payload: an error code, or an increment."""
        start = 4 if self.kind == frames.GOAWAY else 0
        return int.from_bytes(self.payload[start : start + 4], "big")


class MemoryTransport:
    """Takes what is written; says when to pause as a socket's transport does, if it is told to."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = self.is_aborted = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """There is none."""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True


class Peer:
    """A client's end, or with ``accept=None`` a server's."""

    def __init__(
        self,
        accept: Callable[[Connection, int], Stream] | None,
        *,
        limits: Limits | None = None,
        greeting: bytes | None = None,
    ) -> None:
        self.transport = MemoryTransport()
        self.connection = Connection(limits=limits or Limits(), accept=accept)
        self.connection.connection_made(self.transport)
        self._decoder = Decoder()
        self._at = 0 if accept else len(frames.PREFACE)
        self.seen: list[Frame] = []
        if greeting is None:
            greeting = (frames.PREFACE if accept else b"") + NO_SETTINGS
        if greeting:
            self.connection.data_received(greeting)

    def send(self, *data: bytes) -> None:
        self.connection.data_received(b"".join(data))

    def request(self, stream: int, body: bytes | None = b"", *fields: tuple[bytes, bytes]) -> bytes:
        """The bytes of a request; None: its body is still to come."""
        head = frames.headers(stream, encode([*REQUEST, *fields]), is_last=False, max_frame=2**14)
        return head if body is None else head + frames.frame(frames.DATA, frames.END_STREAM, stream, body)

    async def answers(self, turns: int = 5) -> list[Frame]:
        """The frames that came since the last call, after some turns of the event loop."""
        for _ in range(turns):
            await asyncio.sleep(0)
        written, new = self.transport.written, []
        while len(written) - self._at >= frames.HEAD_BYTES:
            upper, lower, kind, flags, stream = frames.read_head(written, self._at)
            start = self._at + frames.HEAD_BYTES
            self._at = start + (upper << 8 | lower)
            new.append(Frame(kind, flags, stream, bytes(written[start : self._at])))
        self.seen += new
        return new

    def fields(self, frame: Frame) -> dict[bytes, bytes]:
        assert frame.kind == frames.HEADERS
        return dict(self._decoder.decode(frame.payload, raw=True))
