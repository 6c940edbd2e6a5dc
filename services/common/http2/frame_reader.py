"""Frames out of bytes: where each begins and ends, how large it may be, and in which order they may come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    LARGEST_WINDOW,
    PADDED,
    PREFACE,
    SETTINGS,
    WITH_PRIORITY,
    ErrorCode,
    FaultError,
    read_head,
)

if TYPE_CHECKING:
    from services.common.http2.connection import Connection

_VIEWED_BYTES = 8 * 1024
"""A body's pieces from this size on are not copied, nor kept until the frame is whole."""


class FrameReader:
    """Hands a connection the data, whole header blocks and control frames that its peer sends."""

    def __init__(self, connection: Connection, *, expects_preface: bool) -> None:
        self._connection = connection
        self._max_frame = connection.limits.max_frame
        self._max_block = connection.limits.max_header_bytes
        self._buffer = bytearray()
        self._needed = 0
        self._data_left = 0
        self._data_head = (0, 0)
        """Flags and stream of the DATA frame that is coming in."""
        self._is_greeted = not expects_preface
        self._has_settings = False
        self._block: bytearray | None = None
        self._block_of = (0, 0)
        self._block_frames = 0

    def feed(self, data: bytes) -> None:
        """Take what was read; the rest of a frame that isn't whole is kept.

        Raises:
            FaultError: the peer broke the protocol; nothing more is to be fed.
        """
        begin = 0
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        elif self._data_left:
            begin = self._take_rest(data, 0)
        used = self._take(data, begin) if self._is_greeted else self._greet(data)
        if used < len(data):
            self._buffer += memoryview(data)[used:]

    def _greet(self, data: bytes) -> int:
        """A server's first bytes."""
        head = data[: len(PREFACE)]
        if head != PREFACE[: len(head)]:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 connection preface")
        self._needed = len(PREFACE)
        if len(head) < len(PREFACE):
            return 0
        self._is_greeted = True
        return self._take(data, len(PREFACE))

    def _take(self, data: bytes, at: int) -> int:
        """Handle all frames from there on that are whole, or long and of DATA; where they end."""
        connection = self._connection
        size = len(data)
        while size - at >= HEAD_BYTES:
            upper, lower, kind, flags, stream_id = read_head(data, at)
            length = upper << 8 | lower
            start = at + HEAD_BYTES
            end = start + length
            if end > size:
                if length > self._max_frame:
                    raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
                if kind == DATA and length >= _VIEWED_BYTES and not flags & PADDED and self._block is None:
                    self._data_head, self._data_left = (flags, stream_id & LARGEST_WINDOW), length
                    return self._take_rest(data, start)
                self._needed = end - at
                return at
            at = end
            if self._block is not None and kind != CONTINUATION:
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "a frame within a header block")
            if kind == DATA:
                if flags & PADDED or length > self._max_frame:
                    self._take_padded(stream_id & LARGEST_WINDOW, flags, data[start:end])
                else:
                    body = data[start:end] if length < _VIEWED_BYTES else memoryview(data)[start:end]
                    connection.take_data(stream_id & LARGEST_WINDOW, flags, body, length)
            elif (
                kind == HEADERS and flags & (END_HEADERS | PADDED | WITH_PRIORITY) == END_HEADERS and self._has_settings
            ):
                connection.take_block(stream_id & LARGEST_WINDOW, flags & END_STREAM, data[start:end])
            else:
                self._take_other(kind, flags, stream_id & LARGEST_WINDOW, data[start:end])
            if connection.is_lost or connection.fault is not None:
                return size
        self._needed = HEAD_BYTES
        return at

    def _take_rest(self, data: bytes, at: int) -> int:
        """Hand on what has come of a long DATA frame; where that ends."""
        connection = self._connection
        flags, stream_id = self._data_head
        part = memoryview(data)[at : at + self._data_left]
        self._data_left -= len(part)
        if part:
            connection.take_data(stream_id, 0 if self._data_left else flags, part, len(part))
        return len(data) if connection.is_lost or connection.fault is not None else at + len(part)

    def _take_padded(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._check_size(payload)
        self._connection.take_data(stream_id, flags, _unpadded(payload), len(payload))

    def _take_other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self._check_size(payload)
        if not self._has_settings:
            if kind != SETTINGS or flags & ACK:
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self._has_settings = True
        if kind == HEADERS:
            self._take_headers(stream_id, flags, payload)
        elif kind == CONTINUATION:
            self._take_continuation(stream_id, flags, payload)
        else:
            self._connection.take_control(kind, flags, stream_id, payload)

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_frame:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {len(payload)} bytes")

    def _take_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        """HEADERS with something special about them."""
        if not stream_id:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "HEADERS on no stream")
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & WITH_PRIORITY:
            if len(payload) < 5:
                raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority they announce")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._connection.take_block(stream_id, flags & END_STREAM, payload)
            return
        self._block = bytearray(payload)
        self._block_of = stream_id, flags & END_STREAM
        self._block_frames = 1

    def _take_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block_of[0] != stream_id:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block += payload
        self._block_frames += 1
        if len(self._block) > self._max_block or self._block_frames > self._max_block // 1024:
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "a header block without an end")
        if flags & END_HEADERS:
            block, self._block = bytes(self._block), None
            self._connection.take_block(stream_id, self._block_of[1], block)


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise FaultError(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
