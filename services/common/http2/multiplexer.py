"""The streams of a connection: how they begin, what is heard on them, how they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.common.http2 import frames
from services.common.http2.frames import END_STREAM, LARGEST_WINDOW, ErrorCode, FaultError
from services.common.http2.headers import HeaderReader, Headers, is_head
from services.common.http2.limits import Limits, Patience
from services.common.http2.sender import Sender
from services.common.http2.stream import Stream

_REMEMBERED_RESETS = 4_096


class Multiplexer(Sender):
    """Gives each message that comes to its stream, and counts what a peer does there for nothing."""

    def __init__(self, limits: Limits, accept: Callable[[Any, int], Stream] | None) -> None:
        super().__init__(limits)
        self.streams: dict[int, Stream] = {}
        self.peer_max_streams = 100
        self.is_client = accept is None
        self.is_closing = False
        """Whether no new stream is to be begun: either side said GOAWAY, or the connection is lost."""
        self.patience = Patience(self.loop, limits.patience)
        self._accept: Callable[[Any, int], Stream] = accept or Stream
        self._headers = HeaderReader(max_list_bytes=limits.max_header_bytes, are_requests=not self.is_client)
        self._known = self._headers.cache
        self._last_stream = 0
        self._next_stream = 1
        self._reset: dict[int, None] = {}

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

    def open(self, stream: Stream, block: bytes, *, is_last: bool = False) -> None:
        """Begin a stream of a client's with a request's head."""
        self.streams[stream.id] = stream
        stream.send_headers(block, is_last=is_last)

    def is_idle(self, stream_id: int) -> bool:
        """Whether a stream was never begun."""
        if self.is_client:
            return stream_id >= self._next_stream or not stream_id & 1
        return stream_id > self._last_stream or not stream_id & 1

    # What is heard

    def take_data(self, stream_id: int, flags: int, data: bytes | memoryview, length: int) -> None:
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
            self.patience.tire()
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
        if self.is_idle(stream_id):
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
        self.give_back(None, length)
        if stream is not None:
            self.reset_stream(stream, ErrorCode.STREAM_CLOSED, "DATA after the end of the stream")
        elif stream_id not in self._reset:
            self.patience.tire()
            self.say(frames.rst_stream(stream_id, ErrorCode.STREAM_CLOSED))

    def take_block(self, stream_id: int, is_last: int, block: bytes) -> None:
        """A whole header block."""
        headers = self._known.get(block) or self._headers.read(block)
        if stream_id > self._last_stream and not self.is_client:
            self._begin(stream_id, headers, is_last=bool(is_last))
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_idle(stream_id):
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "HEADERS on an idle stream")
            if stream_id not in self._reset:
                raise FaultError(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            return
        if not stream.is_remote_open:
            self.reset_stream(stream, ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream")
        elif headers.fault:
            self.reset_stream(stream, ErrorCode.PROTOCOL_ERROR, headers.fault)
        elif self.is_client and is_head(headers):
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
        self.patience.tire()
        self._remember_reset(stream_id)
        self.say(frames.rst_stream(stream_id, code))

    # Ends

    def end_local(self, stream: Stream) -> None:
        """The last thing of a stream has left."""
        if not stream.is_remote_open:
            self._forget(stream)
        elif not self.is_client:  # answered before the request's end, the rest of which is not wanted
            self.reset_stream(stream, ErrorCode.NO_ERROR)

    def _forget(self, stream: Stream) -> None:
        """A stream that ended in order."""
        if self.streams.pop(stream.id, None) is not None:
            if self.patience.is_tried:
                self.patience.recover()
            self._release(stream)

    def _release(self, stream: Stream) -> None:
        self.queued -= stream.close()
        self._waiting.pop(stream, None)
        if stream.held:
            self.give_back(None, stream.held)
            stream.held = 0
        if self.is_closing:
            self.close_if_done()

    def reset_stream(self, stream: Stream, code: ErrorCode, fault: str = "") -> None:
        """End a stream in both directions; ``fault``: because of what the peer did, so its owner is told."""
        if self.streams.pop(stream.id, None) is None:
            return
        self._remember_reset(stream.id)
        self.write(frames.rst_stream(stream.id, code))
        self._release(stream)
        if fault:
            self.patience.tire()
            stream.on_closed(code, fault)

    def reset_id(self, stream_id: int, code: ErrorCode, fault: str) -> None:
        if (stream := self.streams.get(stream_id)) is not None:
            self.reset_stream(stream, code, fault)
        else:
            self.patience.tire()
            self.say(frames.rst_stream(stream_id, code))

    def _remember_reset(self, stream_id: int) -> None:
        """Frames of a stream that we reset may still be under way."""
        self._reset[stream_id] = None
        if len(self._reset) > _REMEMBERED_RESETS:
            del self._reset[next(iter(self._reset))]

    def drop(self, streams: list[Stream], code: int, text: str) -> None:
        """Streams that ended without us."""
        for stream in streams:
            if self.streams.pop(stream.id, None) is not None:
                self._release(stream)
                stream.on_closed(code, text)

    def close_if_done(self) -> None:
        """Close a connection that takes no new streams, when it has none."""
        if not self.streams and not self.is_lost:
            self.close()
