"""What each control frame means to a connection, and the shape it must have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from services.common.http2 import frames
from services.common.http2.frames import (
    ACK,
    DEFAULT_FRAME,
    GOAWAY,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    FaultError,
    Setting,
)

if TYPE_CHECKING:
    from services.common.http2.connection import Connection

_QUICK_S = 0.1
"""A stream that its peer resets sooner was work for nothing; later ones have had their deadline."""


def take(connection: Connection, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    """Do what a frame says; one of a type that nobody knows says nothing.

    Raises:
        FaultError: it breaks the protocol in a way that ends the connection.
    """
    handle = _HANDLERS.get(kind)
    if handle is None:
        connection.patience.tire()
        return
    on_connection, size = _SHAPES[kind]
    if on_connection is not None and on_connection == bool(stream_id):
        raise FaultError(ErrorCode.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream_id}")
    if size is not None and len(payload) != size:
        if kind == PRIORITY:
            connection.reset_id(stream_id, ErrorCode.FRAME_SIZE_ERROR, "a PRIORITY frame of another size")
            return
        raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} with {len(payload)} bytes")
    handle(connection, stream_id, flags, payload)


def _on_priority(connection: Connection, _stream_id: int, _flags: int, _payload: bytes) -> None:
    connection.patience.tire()


def _on_rst_stream(connection: Connection, stream_id: int, _flags: int, payload: bytes) -> None:
    if connection.is_idle(stream_id):
        raise FaultError(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
    if (stream := connection.streams.get(stream_id)) is not None:
        code = frames.read_long(payload)
        connection.drop([stream], code, f"the peer reset the stream with code {code}")
        if connection.loop.time() - stream.born < _QUICK_S and not connection.is_client:
            connection.patience.tire()


def _on_settings(connection: Connection, _stream_id: int, flags: int, payload: bytes) -> None:
    if flags & ACK:
        if payload:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with content")
        return
    if len(payload) % 6:
        raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    for key, value in frames.read_settings(payload):
        _set(connection, key, value)
    connection.say(frames.frame(SETTINGS, ACK, 0))
    connection.greet()
    connection.pump_all()


def _set(connection: Connection, key: int, value: int) -> None:
    if key == Setting.INITIAL_WINDOW_SIZE:
        _set_window(connection, value)
    elif key == Setting.MAX_FRAME_SIZE:
        if not DEFAULT_FRAME <= value <= LARGEST_FRAME:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, f"frames of at most {value} bytes")
        connection.peer_max_frame = value
    elif key == Setting.ENABLE_PUSH:
        if value > (0 if connection.is_client else 1):
            raise FaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
    elif key == Setting.MAX_CONCURRENT_STREAMS:
        connection.peer_max_streams = value


def _set_window(connection: Connection, value: int) -> None:
    if value > LARGEST_WINDOW:
        raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {value} bytes")
    change, connection.peer_window = value - connection.peer_window, value
    for stream in connection.streams.values():
        stream.send_window += change
        if stream.send_window > LARGEST_WINDOW:
            raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond its limit")


def _on_push_promise(_connection: Connection, _stream_id: int, _flags: int, _payload: bytes) -> None:
    raise FaultError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody asked for")


def _on_ping(connection: Connection, _stream_id: int, flags: int, payload: bytes) -> None:
    if flags & ACK:
        connection.take_answer(payload)
    else:
        connection.patience.tire()
        connection.say(frames.frame(PING, ACK, 0, payload))


def _on_goaway(connection: Connection, _stream_id: int, _flags: int, payload: bytes) -> None:
    if len(payload) < 8:
        raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
    last, code = frames.read_long(payload) & LARGEST_WINDOW, frames.read_long(payload[4:])
    if connection.is_client:
        connection.is_closing = True
        unheard = [stream for stream in connection.streams.values() if stream.id > last]
        connection.drop(unheard, ErrorCode.REFUSED_STREAM, f"the peer went away with code {code}")
        connection.close_if_done()


def _on_window_update(connection: Connection, stream_id: int, _flags: int, payload: bytes) -> None:
    increment = frames.read_long(payload) & LARGEST_WINDOW
    if not stream_id:
        connection.widen(increment)
        return
    stream = connection.streams.get(stream_id)
    if stream is None:
        if connection.is_idle(stream_id):
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
    elif not increment:
        connection.reset_stream(stream, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
    else:
        stream.send_window += increment
        if stream.send_window > LARGEST_WINDOW:
            connection.reset_stream(stream, ErrorCode.FLOW_CONTROL_ERROR, "a window beyond its limit")
        elif not stream.is_drained:
            connection.pump(stream)


_HANDLERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    PRIORITY: _on_priority,
    RST_STREAM: _on_rst_stream,
    SETTINGS: _on_settings,
    PUSH_PROMISE: _on_push_promise,
    PING: _on_ping,
    GOAWAY: _on_goaway,
    WINDOW_UPDATE: _on_window_update,
}
# Whether a type of frame belongs to the connection (None: to either), and its size where it has one.
_SHAPES: dict[int, tuple[bool | None, int | None]] = {
    PRIORITY: (False, 5),
    RST_STREAM: (False, 4),
    SETTINGS: (True, None),
    PUSH_PROMISE: (False, None),
    PING: (True, 8),
    GOAWAY: (True, None),
    WINDOW_UPDATE: (None, 4),
}
