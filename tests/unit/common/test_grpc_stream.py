"""The calling side of a gRPC call: messages, however they are cut on their way, and how calls end."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.grpc_stream import NOT_FOUND, OK, UNAVAILABLE, UNKNOWN, CallEndedError, GrpcStream
from services.common.http2 import Headers, Limits


class Wire:
    """A connection that only notes which streams are reset."""

    def __init__(self) -> None:
        self.loop = SimpleNamespace(create_future=Future, time=lambda: 0.0)
        self.limits = Limits()
        self.peer_window = 65_535
        self.was_reset = False

    def next_id(self) -> int:
        return 1

    def open(self, stream: GrpcStream, block: bytes) -> None: ...

    def reset_stream(self, stream: GrpcStream, code: int) -> None:
        self.was_reset = True


def call(heard: list[bytes], wire: Any = None) -> GrpcStream:
    return GrpcStream(wire or Wire(), "/s/M", authority="host:1", on_message=heard.append)


def code_of(stream: GrpcStream) -> int:
    error = stream.ended.result()
    assert isinstance(error, CallEndedError)
    return error.code


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 400), max_size=12))
def test_messages_are_heard_whole_and_in_order(messages: list[bytes], cuts: list[int]) -> None:
    content = b"".join(b"\0" + len(one).to_bytes(4, "big") + one for one in messages)
    heard: list[bytes] = []
    stream = call(heard)
    for size in cuts:
        piece = content[:size]
        assert stream.on_data(memoryview(piece) if size % 2 else piece, is_last=False) == len(piece)
        content = content[size:]
    stream.on_data(content, is_last=False)
    assert heard == messages
    assert not stream.ended.done()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([(b"grpc-status", b"0")], OK),
        ([(b"grpc-status", b"5"), (b"grpc-message", b"no%20such request")], NOT_FOUND),
        ([(b"grpc-status", b"x")], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_trailers_end_a_call_with_their_status(fields: list[tuple[bytes, bytes]], code: int) -> None:
    stream = call([])
    stream.on_headers(Headers([(b":status", b"200")]), is_last=False)
    stream.on_trailers(Headers(fields))
    assert code_of(stream) == code


def test_a_server_that_speaks_no_grpc_ends_the_call() -> None:
    stream = call([])
    stream.on_headers(Headers([(b":status", b"404")]), is_last=False)
    assert code_of(stream) == UNKNOWN


def test_a_lost_connection_ends_the_call_once() -> None:
    stream = call([])
    stream.on_closed(8, "lost")
    stream.on_closed(8, "lost again")
    assert code_of(stream) == UNAVAILABLE


def test_what_hearing_a_message_raises_ends_the_call() -> None:
    def refuse(_: bytes) -> None:
        raise ValueError("not what I asked for")

    wire: Any = Wire()
    stream = GrpcStream(wire, "/s/M", authority="host:1", on_message=refuse)
    stream.on_data(b"\0\0\0\0\1x", is_last=False)
    assert isinstance(stream.ended.result(), ValueError)
    assert wire.was_reset


def test_a_compressed_message_is_refused() -> None:
    wire: Any = Wire()
    heard: list[bytes] = []
    stream = call(heard, wire)
    stream.on_data(b"\1\0\0\0\1x", is_last=False)
    assert wire.was_reset
    assert heard == []
