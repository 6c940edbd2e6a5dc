"""The sending half of a connection: what leaves when, and the windows that both sides keep."""

from __future__ import annotations

import asyncio
from typing import Any

from services.common.http2 import frames
from services.common.http2.frames import (
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    LARGEST_WINDOW,
    ErrorCode,
    FaultError,
    pack_head,
)
from services.common.http2.limits import Limits
from services.common.http2.stream import Stream

_TURN_BYTES = 256 * 1024
"""How much of one stream's queue leaves before it is another one's turn."""


class Sender(asyncio.Protocol):
    """Writes frames: at once, or as the peer's windows and the socket take what streams have queued."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.peer_window = DEFAULT_WINDOW
        """What each new stream may send before the peer gives more."""
        self.peer_max_frame = DEFAULT_FRAME
        self.send_window = DEFAULT_WINDOW
        self.is_paused = False
        """Whether the socket takes nothing more."""
        self.is_lost = False
        self.fault: tuple[int, str] | None = None
        """Why this side ended the connection: an error code and words."""
        self.queued = 0
        """Bytes of all streams that wait for the peer's windows or the socket."""
        self._transport: Any = None
        self._waiting: dict[Stream, None] = {}
        self._out: list[bytes] = []
        self._gathers = True
        self._control_bytes = 0
        self._receive_window = limits.connection_window
        self._owed = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # uvloop gathers what is written in one turn by itself, and sends it without waiting for the next one.
        is_encrypted = transport.get_extra_info("ssl_object") is not None
        self._gathers = is_encrypted or not type(transport).__module__.startswith("uvloop")
        transport.set_write_buffer_limits(high=1024 * 1024)

    def extra_info(self, name: str) -> Any:
        """What asyncio's transport knows, as ``peername``."""
        return self._transport.get_extra_info(name)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._control_bytes = 0
        self.pump_all()

    def write(self, data: bytes) -> None:
        """Send ready frames, with whatever else leaves in this turn of the event loop."""
        if not self._gathers:
            self._transport.write(data)
            return
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(data)

    def _write_parts(self, parts: list[bytes | memoryview]) -> None:
        if self._gathers:
            self.write(b"".join(parts))
        else:
            self._transport.writelines(parts)

    def _flush(self) -> None:
        if self._out and not self.is_lost:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def say(self, control: bytes) -> None:
        """Answer a control frame; a peer that asks and does not read is sent away."""
        if self.is_paused:
            self._control_bytes += len(control)
            if self._control_bytes > self.limits.max_control_bytes:
                raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "too many answers that nobody reads")
        self.write(control)

    def close(self) -> None:
        """Close when what was written has left."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if not self.is_lost:
            self._flush()
            self._transport.abort()

    # The peer's windows

    def widen(self, increment: int) -> None:
        """The peer takes so much more on the whole connection."""
        if not increment:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        was_shut = self.send_window <= 0
        self.send_window += increment
        if self.send_window > LARGEST_WINDOW:
            raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond its limit")
        if was_shut and self._waiting:
            self.pump_all()

    def pump(self, stream: Stream) -> None:
        """Send what is queued of a stream, as far as the windows and the socket allow."""
        if self._pump_turn(stream):
            self._waiting[stream] = None
            if not self.is_paused and self.send_window > 0 and stream.send_window > 0:
                self.pump_all()
        else:
            self._waiting.pop(stream, None)

    def pump_all(self) -> None:
        """Turn by turn, what is queued of all streams that may send."""
        ready = list(self._waiting)
        while ready and not self.is_paused:
            again = []
            for stream in ready:
                before = self.queued
                if not self._pump_turn(stream):
                    self._waiting.pop(stream, None)
                elif self.queued < before:
                    again.append(stream)
            ready = again

    def _pump_turn(self, stream: Stream) -> bool:
        """One turn of a stream; whether something of it is left."""
        parts: list[bytes | memoryview] = []
        size = 0
        while size < _TURN_BYTES and not self.is_paused:
            part = stream.next_part(min(self.send_window, _TURN_BYTES))
            if part is None:
                break
            size += len(part)
            if isinstance(part, memoryview):
                self.send_window -= len(part)
                stream.send_window -= len(part)
                parts += _framed(part, stream.id, self.peer_max_frame)
            else:
                parts.append(part)
        if parts:
            self.queued -= size
            self._write_parts(parts)
        if not stream.is_drained:
            return True
        stream.wake()
        if stream.is_ending and stream.is_open and parts:
            self.end_local(stream)
        return False

    def end_local(self, stream: Stream) -> None:
        """The last thing of a stream has left; for those who keep the streams."""
        raise NotImplementedError

    # Our own windows

    def give_back(self, stream: Stream | None, size: int) -> None:
        """Open the peer's windows again by what was consumed, in few and large steps."""
        if self.fault is not None:
            return
        self._owed += size
        if self._owed * 2 >= self.limits.connection_window:
            self._receive_window += self._owed
            self.say(frames.window_update(0, self._owed))
            self._owed = 0
        if stream is not None and stream.is_remote_open:
            stream.owed += size
            if stream.owed * 2 >= self.limits.stream_window:
                stream.receive_window += stream.owed
                self.say(frames.window_update(stream.id, stream.owed))
                stream.owed = 0


def _framed(body: memoryview, stream_id: int, max_frame: int) -> list[bytes | memoryview]:
    """A piece of a body as frames, each a head and what it is of."""
    whole = len(body) - len(body) % max_frame
    head = pack_head(max_frame >> 8, max_frame & 255, DATA, 0, stream_id)
    parts = [part for at in range(0, whole, max_frame) for part in (head, body[at : at + max_frame])]
    if rest := len(body) - whole:
        parts += (pack_head(rest >> 8, rest & 255, DATA, 0, stream_id), body[whole:])
    return parts
