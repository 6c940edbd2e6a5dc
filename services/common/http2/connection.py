"""An HTTP/2 connection (RFC 9113) as an asyncio protocol, in either role; it knows nothing of what it carries.

Frames are taken from each read as they come; what there is to say goes out with one write per turn of the event loop.
Nothing that a peer does makes it grow without bound: see :class:`Limits`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.common.http2 import frames
from services.common.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ErrorCode,
    FaultError,
    Setting,
    pack_head,
    read_head,
)
from services.common.http2.headers import HeaderReader, Headers, is_head
from services.common.http2.stream import Stream

_log = logging.getLogger(__name__)

_PING_DATA = b"penstock"
_TURN_BYTES = 256 * 1024
"""How much of one stream's queue leaves before it is another one's turn."""
_VIEWED_BYTES = 8 * 1024
"""A body's pieces from this size on are not copied."""
_QUICK_S = 0.1
"""A stream that its peer resets sooner was work for nothing; later ones have had their deadline."""
_ODD_HEADERS = END_HEADERS | PADDED | WITH_PRIORITY
_REMEMBERED_RESETS = 4_096


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection allows its peer, and how long it waits for it."""

    max_streams: int = 4_096
    """Streams that the peer may have open at once."""
    stream_window: int = 4 * 1024 * 1024
    """Bytes of a stream that may be under way or held unread; 65,535 at least, as peers begin with that."""
    connection_window: int = 16 * 1024 * 1024
    """The same for all streams together; 65,535 at least."""
    max_frame: int = 64 * 1024
    """Largest frame to take, in bytes."""
    max_header_bytes: int = 64 * 1024
    """Largest header block, packed and unpacked, in bytes; a block may come in one frame for each KiB of it."""
    max_queued_bytes: int = 64 * 1024 * 1024
    """With this much waiting for the peer to read it, its new streams are refused."""
    max_control_bytes: int = 256 * 1024
    """Answers to control frames that may wait for the peer to read them."""
    patience: int = 1_000
    """Frames without use, or streams that the peer resets at once, taken in one go; 100 more each second, one more for
    each stream that ends in order."""
    handshake_s: float = 10.0
    """Time for the peer to send its preface and settings."""
    keepalive_s: float = 30.0
    """After so long without a word the peer is asked for one."""
    keepalive_timeout_s: float = 10.0
    """How long it may take to answer; then the connection is lost."""


class Connection(asyncio.Protocol):
    """One connection. A server gives ``accept``, which makes a :class:`Stream` of a request; a client opens its own.

    Streams belong to the connection until both sides have ended them. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        accept: Callable[[Connection, int], Stream] | None = None,
        on_lost: Callable[[Connection], None] | None = None,
    ) -> None:
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.streams: dict[int, Stream] = {}
        self.peer_window = DEFAULT_WINDOW
        """What each new stream may send before the peer gives more."""
        self.peer_max_frame = DEFAULT_FRAME
        self.peer_max_streams = 100
        self.send_window = DEFAULT_WINDOW
        self.is_paused = False
        """Whether the socket takes nothing more."""
        self.is_closing = False
        """Whether no new stream is to be begun: either side said GOAWAY, or the connection is lost."""
        self.is_lost = False
        self.queued = 0
        """Bytes of all streams that wait for the peer's windows or the socket."""
        self.closed: asyncio.Future[None] = self.loop.create_future()
        """Done when the connection is lost."""
        self._accept = accept or Stream
        self._on_lost = on_lost
        self._is_client = accept is None
        self._reader = HeaderReader(max_list_bytes=limits.max_header_bytes, are_requests=not self._is_client)
        self._known = self._reader.cache
        self._transport: Any = None
        self._buffer = bytearray()
        self._needed = 0
        self._is_greeted = self._is_client
        self._has_settings = False
        self._block: bytearray | None = None
        self._block_of = (0, 0)
        self._block_frames = 0
        self._last_stream = 0
        self._next_stream = 1
        self._receive_window = limits.connection_window
        self._owed = 0
        self._waiting: dict[Stream, None] = {}
        self._reset: dict[int, None] = {}
        self._out: list[bytes] = []
        self._gathers = True
        self._control_bytes = 0
        self._patience = limits.patience
        self._patient_since = self.loop.time()
        self._is_heard = False
        self._timer: asyncio.TimerHandle | None = None
        self._fault: tuple[int, str] | None = None
        self._greeted: asyncio.Future[None] = self.loop.create_future()

    # asyncio's side

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # uvloop gathers what is written in one turn by itself, and sends it without waiting for the next one.
        is_encrypted = transport.get_extra_info("ssl_object") is not None
        self._gathers = is_encrypted or not type(transport).__module__.startswith("uvloop")
        limits = self.limits
        transport.set_write_buffer_limits(high=1024 * 1024)
        values = {
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
            Setting.MAX_FRAME_SIZE: limits.max_frame,
            Setting.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
        }
        if self._is_client:
            values[Setting.ENABLE_PUSH] = 0
        else:
            values[Setting.MAX_CONCURRENT_STREAMS] = limits.max_streams
        hello = frames.settings(values)
        if limits.connection_window > DEFAULT_WINDOW:
            hello += frames.window_update(0, limits.connection_window - DEFAULT_WINDOW)
        self.write(PREFACE + hello if self._is_client else hello)
        self._timer = self.loop.call_later(limits.handshake_s, self._expect_settings)

    def extra_info(self, name: str) -> Any:
        """What asyncio's transport knows, as ``peername``."""
        return self._transport.get_extra_info(name)

    def data_received(self, data: bytes) -> None:
        self._is_heard = True
        if self._fault is not None:
            return
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        try:
            used = self._take(data) if self._is_greeted else self._greet(data)
        except FaultError as fault:
            self.fail(fault.code, str(fault))
            return
        except Exception:  # noqa: BLE001 - a bug behind one connection must not reach the others
            _log.exception("unexpected error in an HTTP/2 connection")
            self.fail(ErrorCode.INTERNAL_ERROR, "internal error")
            return
        if used < len(data):
            self._buffer += memoryview(data)[used:]

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._control_bytes = 0
        self._pump_all()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = self.is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        code, text = self._fault or (ErrorCode.CANCEL, f"the connection is lost: {error or 'closed by the peer'}")
        self._drop(list(self.streams.values()), code, text)
        if not self._greeted.done():
            self._greeted.set_exception(ConnectionError(text))
            self._greeted.exception()  # somebody may wait for it, or nobody
        if not self.closed.done():
            self.closed.set_result(None)
        if self._on_lost is not None:
            self._on_lost(self)

    # Reading

    def _greet(self, data: bytes) -> int:
        """A server's first bytes."""
        head = data[: len(PREFACE)]
        if head != PREFACE[: len(head)]:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 connection preface")
        self._needed = len(PREFACE)
        if len(head) < len(PREFACE):
            return 0
        self._is_greeted = True
        return len(PREFACE) + self._take(data[len(PREFACE) :])

    def _take(self, data: bytes) -> int:
        """Handle all whole frames; how many bytes they are."""
        at, size = 0, len(data)
        while size - at >= HEAD_BYTES:
            upper, lower, kind, flags, stream_id = read_head(data, at)
            length = upper << 8 | lower
            start = at + HEAD_BYTES
            end = start + length
            if end > size:
                if length > self.limits.max_frame:
                    raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
                self._needed = end - at
                return at
            at = end
            if self._block is not None and kind != CONTINUATION:
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "a frame within a header block")
            if kind == DATA:
                if flags & PADDED or length > self.limits.max_frame:
                    self._take_padded(stream_id & LARGEST_WINDOW, flags, data[start:end])
                else:
                    body = data[start:end] if length < _VIEWED_BYTES else memoryview(data)[start:end]
                    self._take_data(stream_id & LARGEST_WINDOW, flags, body, length)
            elif (
                kind == HEADERS and flags & (END_HEADERS | PADDED | WITH_PRIORITY) == END_HEADERS and self._has_settings
            ):
                self._take_block(stream_id & LARGEST_WINDOW, flags & END_STREAM, data[start:end])
            else:
                self._take_other(kind, flags, stream_id & LARGEST_WINDOW, data[start:end])
            if self.is_lost or self._fault is not None:
                return size
        self._needed = HEAD_BYTES
        return at

    def _take_padded(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) > self.limits.max_frame:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {len(payload)} bytes")
        self._take_data(stream_id, flags, _unpadded(payload), len(payload))

    def _take_data(self, stream_id: int, flags: int, data: bytes | memoryview, length: int) -> None:
        """``length`` includes the padding, which counts as received too."""
        self._receive_window -= length
        if self._receive_window < 0:
            raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, "more than the connection's window")
        stream = self.streams.get(stream_id)
        if stream is None or not stream.is_remote_open:
            self._take_stray_data(stream_id, stream, length)
            return
        is_last = bool(flags & END_STREAM)
        stream.receive_window -= length
        if stream.receive_window < 0:
            self.reset_stream(stream, ErrorCode.FLOW_CONTROL_ERROR, "more than the stream's window")
            self.give_back(None, length)
            return
        if stream.expected is not None:
            stream.expected -= len(data)
            if stream.expected < 0 or (is_last and stream.expected):
                self.reset_stream(stream, ErrorCode.PROTOCOL_ERROR, "a body that differs from its content-length")
                self.give_back(None, length)
                return
        if not length and not is_last:
            self._tire()
        if is_last:
            stream.is_remote_open = False
        taken = stream.on_data(data, is_last=is_last) + length - len(data)
        if stream.is_open:
            stream.held += length - taken
            self.give_back(stream, taken)
        else:
            self.give_back(None, length)
        if is_last and stream.is_open and stream.is_ending and stream.is_drained:
            self._forget(stream)

    def _take_stray_data(self, stream_id: int, stream: Stream | None, length: int) -> None:
        if self._is_idle(stream_id):
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
        self.give_back(None, length)
        if stream is not None:
            self.reset_stream(stream, ErrorCode.STREAM_CLOSED, "DATA after the end of the stream")
        elif stream_id not in self._reset and stream_id <= max(self._last_stream, self._next_stream):
            self._tire()
            self._say(frames.rst_stream(stream_id, ErrorCode.STREAM_CLOSED))

    def _take_block(self, stream_id: int, is_last: int, block: bytes) -> None:
        """A whole header block."""
        headers = self._known.get(block) or self._reader.read(block)
        if stream_id > self._last_stream and not self._is_client:
            self._begin(stream_id, headers, is_last=bool(is_last))
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "HEADERS on an idle stream")
            if stream_id not in self._reset:
                raise FaultError(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            return
        if not stream.is_remote_open:
            self.reset_stream(stream, ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream")
        elif headers.fault:
            self.reset_stream(stream, ErrorCode.PROTOCOL_ERROR, headers.fault)
        elif self._is_client and is_head(headers):
            self._take_response(stream, headers, is_last=bool(is_last))
        elif is_head(headers) or not is_last or stream.expected:
            self.reset_stream(stream, ErrorCode.PROTOCOL_ERROR, "HEADERS that are no trailers within a stream")
        else:
            stream.is_remote_open = False
            stream.on_trailers(headers)
            if stream.is_open and stream.is_ending and stream.is_drained:
                self._forget(stream)

    def _begin(self, stream_id: int, headers: Headers, *, is_last: bool) -> None:
        """A new stream of the peer's."""
        if not stream_id & 1:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "a client's stream with an even number")
        if self.is_closing:
            return  # the peer knows from GOAWAY that it isn't heard
        self._last_stream = stream_id
        if headers.fault or not is_head(headers) or (is_last and headers.content_length):
            self._refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
        elif len(self.streams) >= self.limits.max_streams or self.queued > self.limits.max_queued_bytes:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM)
        else:
            stream = self._accept(self, stream_id)
            self.streams[stream_id] = stream
            if headers.content_length is not None:
                stream.expected = headers.content_length
            if is_last:
                stream.is_remote_open = False
            stream.on_headers(headers, is_last=is_last)

    def _take_response(self, stream: Stream, headers: Headers, *, is_last: bool) -> None:
        if headers.fields[0][1][:1] == b"1" and not is_last:
            return  # an interim response; the real one follows
        if is_last:
            stream.is_remote_open = False
        else:
            stream.expected = headers.content_length
        stream.on_headers(headers, is_last=is_last)
        if is_last and stream.is_open and stream.is_ending and stream.is_drained:
            self._forget(stream)

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        self._tire()
        self._remember_reset(stream_id)
        self._say(frames.rst_stream(stream_id, code))

    def _take_other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) > self.limits.max_frame:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {len(payload)} bytes")
        if not self._has_settings:
            if kind != SETTINGS or flags & ACK:
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self._has_settings = True
        handle = _HANDLERS.get(kind)
        if handle is None:
            self._tire()
            return
        on_connection, size = _SHAPES[kind]
        if on_connection is not None and on_connection == bool(stream_id):
            raise FaultError(ErrorCode.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream_id}")
        if size is not None and len(payload) != size:
            if kind == PRIORITY:
                self._reset_id(stream_id, ErrorCode.FRAME_SIZE_ERROR, "a PRIORITY frame of another size")
                return
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} with {len(payload)} bytes")
        handle(self, stream_id, flags, payload)

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        """HEADERS with something special about them."""
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & WITH_PRIORITY:
            if len(payload) < 5:
                raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority they announce")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._take_block(stream_id, flags & END_STREAM, payload)
            return
        self._block = bytearray(payload)
        self._block_of = stream_id, flags & END_STREAM
        self._block_frames = 1

    def _on_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block_of[0] != stream_id:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block += payload
        self._block_frames += 1
        limit = self.limits.max_header_bytes
        if len(self._block) > limit or self._block_frames > limit // 1024:
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "a header block without an end")
        if flags & END_HEADERS:
            block, self._block = bytes(self._block), None
            self._take_block(stream_id, self._block_of[1], block)

    def _on_priority(self, _stream_id: int, _flags: int, _payload: bytes) -> None:
        self._tire()

    def _on_rst_stream(self, stream_id: int, _flags: int, payload: bytes) -> None:
        if self._is_idle(stream_id):
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if (stream := self.streams.get(stream_id)) is not None:
            code = frames.read_long(payload)
            self._drop([stream], code, f"the peer reset the stream with code {code}")
            if self.loop.time() - stream.born < _QUICK_S and not self._is_client:
                self._tire()

    def _on_settings(self, _stream_id: int, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with content")
            return
        if len(payload) % 6:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        for key, value in frames.read_settings(payload):
            self._set(key, value)
        self._say(frames.frame(SETTINGS, ACK, 0))
        if not self._greeted.done():
            self._greeted.set_result(None)
            self._keep_alive()
        else:
            self._tire()
        self._pump_all()

    def _set(self, key: int, value: int) -> None:
        if key == Setting.INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {value} bytes")
            change, self.peer_window = value - self.peer_window, value
            for stream in self.streams.values():
                stream.send_window += change
                if stream.send_window > LARGEST_WINDOW:
                    raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond its limit")
        elif key == Setting.MAX_FRAME_SIZE:
            if not DEFAULT_FRAME <= value <= LARGEST_FRAME:
                raise FaultError(ErrorCode.PROTOCOL_ERROR, f"frames of at most {value} bytes")
            self.peer_max_frame = value
        elif key == Setting.ENABLE_PUSH:
            if value > (0 if self._is_client else 1):
                raise FaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
        elif key == Setting.MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value

    def _on_push_promise(self, _stream_id: int, _flags: int, _payload: bytes) -> None:
        raise FaultError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody asked for")

    def _on_ping(self, _stream_id: int, flags: int, payload: bytes) -> None:
        if not flags & ACK:
            self._tire()
            self._say(frames.frame(PING, ACK, 0, payload))
        elif payload == _PING_DATA:
            self._keep_alive()

    def _on_goaway(self, _stream_id: int, _flags: int, payload: bytes) -> None:
        if len(payload) < 8:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
        last, code = frames.read_long(payload) & LARGEST_WINDOW, frames.read_long(payload[4:])
        if self._is_client:
            self.is_closing = True
            unheard = [stream for stream in self.streams.values() if stream.id > last]
            self._drop(unheard, ErrorCode.REFUSED_STREAM, f"the peer went away with code {code}")
            self._close_if_done()

    def _on_window_update(self, stream_id: int, _flags: int, payload: bytes) -> None:
        increment = frames.read_long(payload) & LARGEST_WINDOW
        if not stream_id:
            self._widen(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        elif not increment:
            self.reset_stream(stream, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        else:
            stream.send_window += increment
            if stream.send_window > LARGEST_WINDOW:
                self.reset_stream(stream, ErrorCode.FLOW_CONTROL_ERROR, "a window beyond its limit")
            elif not stream.is_drained:
                self.pump(stream)

    def _widen(self, increment: int) -> None:
        """The whole connection's window."""
        if not increment:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        was_shut = self.send_window <= 0
        self.send_window += increment
        if self.send_window > LARGEST_WINDOW:
            raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond its limit")
        if was_shut and self._waiting:
            self._pump_all()

    def _is_idle(self, stream_id: int) -> bool:
        if self._is_client:
            return stream_id >= self._next_stream or not stream_id & 1
        return stream_id > self._last_stream or not stream_id & 1

    def _tire(self) -> None:
        """Count a frame that costs us more than it helps anybody; a peer with too many of them is sent away."""
        self._patience -= 1
        if self._patience < 0:
            now = self.loop.time()
            self._patience = min(self.limits.patience, int(100 * (now - self._patient_since)))
            self._patient_since = now
            if self._patience <= 0:
                raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that do nothing")

    # Writing

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

    def _say(self, control: bytes) -> None:
        """Answer a control frame; a peer that asks and does not read is sent away."""
        if self.is_paused:
            self._control_bytes += len(control)
            if self._control_bytes > self.limits.max_control_bytes:
                raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "too many answers that nobody reads")
        self.write(control)

    def give_back(self, stream: Stream | None, size: int) -> None:
        """Open the peer's windows again by what was consumed, in few and large steps."""
        if self._fault is not None:
            return
        self._owed += size
        if self._owed * 2 >= self.limits.connection_window:
            self._receive_window += self._owed
            self._say(frames.window_update(0, self._owed))
            self._owed = 0
        if stream is not None and stream.is_remote_open:
            stream.owed += size
            if stream.owed * 2 >= self.limits.stream_window:
                stream.receive_window += stream.owed
                self._say(frames.window_update(stream.id, stream.owed))
                stream.owed = 0

    def pump(self, stream: Stream) -> None:
        """Send what is queued of a stream, as far as the windows and the socket allow."""
        if self._pump_turn(stream):
            self._waiting[stream] = None
            if not self.is_paused and self.send_window > 0 and stream.send_window > 0:
                self._pump_all()
        else:
            self._waiting.pop(stream, None)

    def _pump_all(self) -> None:
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
        size, max_frame, stream_id = 0, self.peer_max_frame, stream.id
        while size < _TURN_BYTES and not self.is_paused:
            part = stream.next_part(min(self.send_window, max_frame))
            if part is None:
                break
            length = len(part)
            size += length
            if isinstance(part, memoryview):
                self.send_window -= length
                stream.send_window -= length
                parts.append(pack_head(length >> 8, length & 255, DATA, 0, stream_id))
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

    # Ends

    def open(self, stream: Stream, block: bytes, *, is_last: bool = False) -> None:
        """Begin a stream of a client's with a request's head."""
        self.streams[stream.id] = stream
        stream.send_headers(block, is_last=is_last)

    def next_id(self) -> int:
        """The number for a client's next stream.

        Raises:
            ConnectionError: no stream can be begun on this connection any more, or none more now.
        """
        if self.is_closing or self._next_stream > LARGEST_WINDOW:
            raise ConnectionError("the connection takes no new streams")
        if len(self.streams) >= self.peer_max_streams:
            raise ConnectionError(f"the peer takes no more than {self.peer_max_streams} streams at once")
        stream_id = self._next_stream
        self._next_stream += 2
        return stream_id

    def end_local(self, stream: Stream) -> None:
        """The last thing of a stream has left."""
        if not stream.is_remote_open:
            self._forget(stream)
        elif not self._is_client:  # answered before the request's end, the rest of which is not wanted
            self.reset_stream(stream, ErrorCode.NO_ERROR)

    def _forget(self, stream: Stream) -> None:
        """A stream that ended in order."""
        if self.streams.pop(stream.id, None) is not None:
            if self._patience < self.limits.patience:
                self._patience += 1
            self._release(stream)

    def _release(self, stream: Stream) -> None:
        self.queued -= stream.close()
        self._waiting.pop(stream, None)
        if stream.held:
            self.give_back(None, stream.held)
            stream.held = 0
        if self.is_closing:
            self._close_if_done()

    def reset_stream(self, stream: Stream, code: ErrorCode, fault: str = "") -> None:
        """End a stream in both directions; ``fault``: because of what the peer did, so its owner is told."""
        if self.streams.pop(stream.id, None) is None:
            return
        self._remember_reset(stream.id)
        self.write(frames.rst_stream(stream.id, code))
        self._release(stream)
        if fault:
            self._tire()
            stream.on_closed(code, fault)

    def _reset_id(self, stream_id: int, code: ErrorCode, fault: str) -> None:
        if (stream := self.streams.get(stream_id)) is not None:
            self.reset_stream(stream, code, fault)
        else:
            self._tire()
            self._say(frames.rst_stream(stream_id, code))

    def _remember_reset(self, stream_id: int) -> None:
        """Frames of a stream that we reset may still be under way."""
        self._reset[stream_id] = None
        if len(self._reset) > _REMEMBERED_RESETS:
            del self._reset[next(iter(self._reset))]

    def _drop(self, streams: list[Stream], code: int, text: str) -> None:
        """Streams that ended without us."""
        for stream in streams:
            if self.streams.pop(stream.id, None) is not None:
                self._release(stream)
                stream.on_closed(code, text)

    def fail(self, code: int, text: str) -> None:
        """End the connection at once because of the peer, and say why."""
        if self.is_lost or self._fault is not None:
            return
        _log.info("an HTTP/2 connection ends: %s", text)
        self._fault = (code, text)
        self.is_closing = True
        self.write(frames.goaway(self._last_stream, code, text))
        self._flush()
        self._drop(list(self.streams.values()), code, text)
        self._close()

    def go_away(self) -> None:
        """Take no new streams, and close when those under way are finished."""
        if self.is_lost or self.is_closing:
            return
        self.is_closing = True
        self.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self.streams and not self.is_lost:
            self._flush()
            self._close()

    def _close(self) -> None:
        """Close when what was written has left, or when the peer has had time enough to read it."""
        self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.limits.keepalive_timeout_s, self._transport.abort)

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if not self.is_lost:
            self._flush()
            self._transport.abort()

    # Time

    async def ready(self) -> None:
        """Wait for the peer's settings.

        Raises:
            ConnectionError: the connection was lost before.
        """
        await asyncio.shield(self._greeted)

    def _expect_settings(self) -> None:
        self.fail(ErrorCode.SETTINGS_TIMEOUT, "no settings within the time for them")

    def _keep_alive(self) -> None:
        """Ask a silent peer whether it is there."""
        if self._timer is not None:
            self._timer.cancel()
        self._is_heard = False
        self._timer = self.loop.call_later(self.limits.keepalive_s, self._ask)

    def _ask(self) -> None:
        if self._is_heard:
            self._keep_alive()
            return
        self.write(frames.frame(PING, 0, 0, _PING_DATA))
        self._timer = self.loop.call_later(self.limits.keepalive_timeout_s, self._judge)

    def _judge(self) -> None:
        if self._is_heard:
            self._keep_alive()
            return
        self._fault = ErrorCode.CANCEL, "the connection is lost: the peer answers nothing"
        self._transport.abort()


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise FaultError(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


_HANDLERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    HEADERS: Connection._on_headers,  # noqa: SLF001 - the class's own table
    PRIORITY: Connection._on_priority,  # noqa: SLF001
    RST_STREAM: Connection._on_rst_stream,  # noqa: SLF001
    SETTINGS: Connection._on_settings,  # noqa: SLF001
    PUSH_PROMISE: Connection._on_push_promise,  # noqa: SLF001
    PING: Connection._on_ping,  # noqa: SLF001
    GOAWAY: Connection._on_goaway,  # noqa: SLF001
    WINDOW_UPDATE: Connection._on_window_update,  # noqa: SLF001
    CONTINUATION: Connection._on_continuation,  # noqa: SLF001
}
# Whether a type of frame belongs to the connection (None: to either), and its size where it has one.
_SHAPES: dict[int, tuple[bool | None, int | None]] = {
    HEADERS: (False, None),
    PRIORITY: (False, 5),
    RST_STREAM: (False, 4),
    SETTINGS: (True, None),
    PUSH_PROMISE: (False, None),
    PING: (True, 8),
    GOAWAY: (True, None),
    WINDOW_UPDATE: (None, 4),
    CONTINUATION: (False, None),
}
