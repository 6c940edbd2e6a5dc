"""What RFC 9113 demands of an endpoint, frame by frame, and what it must not let a peer do."""

from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hpack import Encoder

from services.common.http2 import Connection, ErrorCode, Headers, Limits, Stream, encode
from services.common.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Setting,
    frame,
    settings,
    window_update,
)
from tests.support.http2_peer import NO_SETTINGS, REQUEST, Frame, Peer

LIMITS = Limits(
    max_streams=3, stream_window=1_000, connection_window=100_000, max_frame=16_384, max_header_bytes=8_192,
    max_queued_bytes=10_000, max_control_bytes=1_000, patience=20,
)  # fmt: skip
OK = encode([(b":status", b"200")])
END = encode([(b"end", b"1")])


class Recorder(Stream):
    """Keeps what it hears and hands nothing back unless told to; answers ``echo`` requests when they end."""

    def __init__(self, connection: Connection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self.heads: list[Headers] = []
        self.body = b""
        self.trailers: Headers | None = None
        self.end: tuple[int, str] | None = None
        self.is_read = False
        self.takes = True

    def on_headers(self, headers: Headers, *, is_last: bool) -> None:
        self.heads.append(headers)
        self.is_read = is_last
        self.takes = headers.get(b"hold") is None
        if is_last:
            self._echo()

    def on_data(self, data: bytes, *, is_last: bool) -> int:
        self.body += data
        self.is_read = is_last
        if is_last:
            self._echo()
        return len(data) if self.takes else 0

    def on_trailers(self, headers: Headers) -> None:
        self.trailers = headers
        self.is_read = True

    def on_closed(self, code: int, text: str) -> None:
        self.end = code, text

    def _echo(self) -> None:
        if self.heads[0].get(b"echo") is not None:
            self.respond(OK, b"", self.body, END)


def head(stream: int = 1, *fields: tuple[bytes, bytes], flags: int = END_HEADERS, plain: Any = REQUEST) -> bytes:
    return frame(HEADERS, flags, stream, encode([*plain, *fields]))


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [field for field in REQUEST if field[0] != name]


def data(stream: int = 1, body: bytes = b"", flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, body)


def long(number: int) -> bytes:
    return struct.pack(">I", number)


def raw_settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


WHOLE = END_HEADERS | END_STREAM
LAST = data(1, b"", END_STREAM)

# What is sent after the preface, and the error that must end the connection.
FATAL: dict[str, tuple[bytes, ErrorCode]] = {
    "DATA on the connection": (data(0), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on the connection": (head(0), ErrorCode.PROTOCOL_ERROR),
    "PRIORITY on the connection": (frame(PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on the connection": (frame(RST_STREAM, 0, 0, long(8)), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "CONTINUATION on the connection": (frame(CONTINUATION, 4, 0, END), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (data(1), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (frame(RST_STREAM, 0, 1, long(8)), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (window_update(1, 5), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on a server's idle stream": (window_update(2, 5), ErrorCode.PROTOCOL_ERROR),
    "CONTINUATION of nothing": (frame(CONTINUATION, END_HEADERS, 1, END), ErrorCode.PROTOCOL_ERROR),
    "CONTINUATION after the end": (head(1) + frame(CONTINUATION, END_HEADERS, 1, END), ErrorCode.PROTOCOL_ERROR),
    "another frame in a block": (head(1, flags=0) + frame(PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "DATA in a block": (head(1, flags=0) + data(1), ErrorCode.PROTOCOL_ERROR),
    "another stream's CONTINUATION": (head(1, flags=0) + frame(CONTINUATION, 4, 3, END), ErrorCode.PROTOCOL_ERROR),
    "another stream's HEADERS in a block": (head(1, flags=0) + head(3), ErrorCode.PROTOCOL_ERROR),
    "an even stream": (head(2), ErrorCode.PROTOCOL_ERROR),
    "a smaller stream": (head(5, flags=WHOLE) + head(3), ErrorCode.STREAM_CLOSED),
    "HEADERS after the stream's end": (head(1, (b"echo", b""), flags=WHOLE) * 2, ErrorCode.STREAM_CLOSED),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, 4, 1, long(2) + END), ErrorCode.PROTOCOL_ERROR),
    "a frame above the limit": (frame(DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    "an unknown frame above the limit": (frame(77, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    "the head of a frame above the limit": (frame(DATA, 0, 1, bytes(20_000))[:9], ErrorCode.FRAME_SIZE_ERROR),
    "a short PING": (frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a long PING": (frame(PING, 0, 0, bytes(9)), ErrorCode.FRAME_SIZE_ERROR),
    "a short RST_STREAM": (head(1) + frame(RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "a short WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "a short GOAWAY": (frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS in halves": (frame(SETTINGS, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "an acknowledgement with content": (frame(SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "ENABLE_PUSH 2": (raw_settings((2, 2)), ErrorCode.PROTOCOL_ERROR),
    "a window of 2^31": (raw_settings((4, 2**31)), ErrorCode.FLOW_CONTROL_ERROR),
    "frames of 16383": (raw_settings((5, 16_383)), ErrorCode.PROTOCOL_ERROR),
    "frames of 2^24": (raw_settings((5, 2**24)), ErrorCode.PROTOCOL_ERROR),
    "the connection's window by 0": (window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "the connection's window beyond 2^31-1": (window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "a stream's window beyond 2^31-1 by SETTINGS": (
        head(1) + window_update(1, 2**31 - 1 - 65_535) + raw_settings((4, 65_536)), ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "no padding where it is announced": (head(1) + frame(DATA, PADDED, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "more padding than DATA": (head(1) + frame(DATA, PADDED, 1, b"\4abc"), ErrorCode.PROTOCOL_ERROR),
    "more padding than HEADERS": (frame(HEADERS, WHOLE | PADDED, 1, b"\xff" + END), ErrorCode.PROTOCOL_ERROR),
    "no priority where it is announced": (frame(HEADERS, WHOLE | WITH_PRIORITY, 1, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    "a block that is no HPACK": (frame(HEADERS, WHOLE, 1, b"\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "an index beyond the table": (frame(HEADERS, WHOLE, 1, b"\xff\x00"), ErrorCode.COMPRESSION_ERROR),
    "index 0": (frame(HEADERS, WHOLE, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "a field that is cut off": (frame(HEADERS, WHOLE, 1, b"\0\3a"), ErrorCode.COMPRESSION_ERROR),
    "bad Huffman code": (frame(HEADERS, WHOLE, 1, b"\0\1a\x84\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "a table above the limit": (frame(HEADERS, WHOLE, 1, b"\x3f\xff\xff\x7f"), ErrorCode.COMPRESSION_ERROR),
    "a table's size after a field": (frame(HEADERS, WHOLE, 1, b"\x83\x20"), ErrorCode.COMPRESSION_ERROR),
    "fields above the limit": (head(1, (b"a", bytes(9_000).replace(b"\0", b"a"))), ErrorCode.ENHANCE_YOUR_CALM),
    "an indexed bomb": (
        head(1) + frame(HEADERS, WHOLE, 3, b"\x40\1a\x7f\x81\x1e" + b"b" * 3_968 + b"\xbe" * 50),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a block without an end": (
        head(1, flags=0) + frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 500) * 5, ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a block of empty pieces": (head(1, flags=0) + frame(CONTINUATION, 0, 1) * 10, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of PING": (frame(PING, 0, 0, bytes(8)) * 30, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of SETTINGS": (NO_SETTINGS * 30, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of empty DATA": (head(1) + data(1) * 30, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of PRIORITY": (frame(PRIORITY, 0, 1, bytes(5)) * 30, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of unknown frames": (frame(99, 0, 0) * 30, ErrorCode.ENHANCE_YOUR_CALM),
    "a rapid reset": (
        b"".join(head(2 * n + 1) + frame(RST_STREAM, 0, 2 * n + 1, long(8)) for n in range(30)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a flood of refused streams": (
        b"".join(head(2 * n + 1) for n in range(40)), ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a flood of malformed requests": (
        b"".join(head(2 * n + 1, (b"A", b"")) for n in range(30)), ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "more than the connection's window": (
        head(1, (b"hold", b"1")) + data(1, bytes(14_000)) * 8, ErrorCode.FLOW_CONTROL_ERROR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FATAL)
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "in bytes"])
async def test_a_fatal_fault_ends_the_connection_with_its_code(name: str, is_cut: bool) -> None:
    sent, code = FATAL[name]
    limits = LIMITS if name != "more than the connection's window" else Limits(connection_window=65_535)
    peer = Peer(Recorder, limits=limits)

    for part in [sent[at : at + 1] for at in range(len(sent))] if is_cut and len(sent) < 3_000 else [sent]:
        peer.send(part)

    last = (await peer.answers())[-1]
    assert (last.kind, ErrorCode(int.from_bytes(last.payload[4:8], "big"))) == (GOAWAY, code)
    assert peer.transport.is_closed
    assert not peer.connection.streams


# What is sent after the preface, and the stream that alone must be reset, with its code.
RESET: dict[str, tuple[bytes, int, ErrorCode]] = {
    "a name in capitals": (head(1, (b"Name", b"x")), 1, ErrorCode.PROTOCOL_ERROR),
    "a name with a space": (head(1, (b"na me", b"x")), 1, ErrorCode.PROTOCOL_ERROR),
    "an empty name": (head(1, (b"", b"x")), 1, ErrorCode.PROTOCOL_ERROR),
    "a value with a line end": (head(1, (b"name", b"a\r\nb")), 1, ErrorCode.PROTOCOL_ERROR),
    "a value with a zero": (head(1, (b"name", b"a\0b")), 1, ErrorCode.PROTOCOL_ERROR),
    "a value that begins with a space": (head(1, (b"name", b" a")), 1, ErrorCode.PROTOCOL_ERROR),
    "a value that ends with a tab": (head(1, (b"name", b"a\t")), 1, ErrorCode.PROTOCOL_ERROR),
    "connection": (head(1, (b"connection", b"close")), 1, ErrorCode.PROTOCOL_ERROR),
    "transfer-encoding": (head(1, (b"transfer-encoding", b"chunked")), 1, ErrorCode.PROTOCOL_ERROR),
    "te: gzip": (head(1, (b"te", b"gzip")), 1, ErrorCode.PROTOCOL_ERROR),
    "an unknown pseudo-header": (head(1, (b":protocol", b"x")), 1, ErrorCode.PROTOCOL_ERROR),
    "a response's pseudo-header": (head(1, (b":status", b"200")), 1, ErrorCode.PROTOCOL_ERROR),
    "a pseudo-header after a field": (head(1, (b"a", b"b"), (b":path", b"/")), 1, ErrorCode.PROTOCOL_ERROR),
    "a pseudo-header twice": (head(1, (b":path", b"/")), 1, ErrorCode.PROTOCOL_ERROR),
    "no :method": (head(1, plain=without(b":method")), 1, ErrorCode.PROTOCOL_ERROR),
    "no :scheme": (head(1, plain=without(b":scheme")), 1, ErrorCode.PROTOCOL_ERROR),
    "no :path": (head(1, plain=without(b":path")), 1, ErrorCode.PROTOCOL_ERROR),
    "an empty :path": (head(1, plain=[*without(b":path"), (b":path", b"")]), 1, ErrorCode.PROTOCOL_ERROR),
    "no pseudo-header": (head(1, (b"a", b"b"), plain=[]), 1, ErrorCode.PROTOCOL_ERROR),
    "an empty block": (frame(HEADERS, WHOLE, 1), 1, ErrorCode.PROTOCOL_ERROR),
    "content-length in words": (head(1, (b"content-length", b"ten")), 1, ErrorCode.PROTOCOL_ERROR),
    "a huge content-length": (head(1, (b"content-length", b"9" * 5_000)), 1, ErrorCode.PROTOCOL_ERROR),
    "two content-lengths": (head(1, (b"content-length", b"1"), (b"content-length", b"2")), 1, ErrorCode.PROTOCOL_ERROR),
    "content-length without a body": (head(1, (b"content-length", b"1"), flags=WHOLE), 1, ErrorCode.PROTOCOL_ERROR),
    "a shorter body than announced": (
        head(1, (b"content-length", b"3")) + data(1, b"ab", END_STREAM), 1, ErrorCode.PROTOCOL_ERROR,
    ),
    "a longer body than announced": (
        head(1, (b"content-length", b"3")) + data(1, b"abcd"), 1, ErrorCode.PROTOCOL_ERROR,
    ),
    "trailers before the announced end": (
        head(1, (b"content-length", b"3")) + frame(HEADERS, WHOLE, 1, END), 1, ErrorCode.PROTOCOL_ERROR,
    ),
    "trailers that are not the last": (head(1) + frame(HEADERS, END_HEADERS, 1, END), 1, ErrorCode.PROTOCOL_ERROR),
    "trailers with a pseudo-header": (head(1) + head(1, flags=WHOLE), 1, ErrorCode.PROTOCOL_ERROR),
    "DATA after the end": (head(1) + LAST + data(1, b"x"), 1, ErrorCode.STREAM_CLOSED),
    "HEADERS after the end": (head(1) + LAST + frame(HEADERS, WHOLE, 1, END), 1, ErrorCode.STREAM_CLOSED),
    "DATA on a closed stream": (head(1, (b"echo", b""), flags=WHOLE) + data(1, b"x"), 1, ErrorCode.STREAM_CLOSED),
    "a stream's window by 0": (head(1) + window_update(1, 0), 1, ErrorCode.PROTOCOL_ERROR),
    "a stream's window beyond 2^31-1": (head(1) + window_update(1, 2**31 - 1), 1, ErrorCode.FLOW_CONTROL_ERROR),
    "more than a stream's window": (head(1) + data(1, bytes(1_001)), 1, ErrorCode.FLOW_CONTROL_ERROR),
    "more than a held stream's window": (
        head(1, (b"hold", b"1")) + data(1, bytes(600)) + data(1, bytes(600)), 1, ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a short PRIORITY": (head(1) + frame(PRIORITY, 0, 1, bytes(4)), 1, ErrorCode.FRAME_SIZE_ERROR),
    "one stream too many": (head(1) + head(3) + head(5) + head(7), 7, ErrorCode.REFUSED_STREAM),
}  # fmt: skip


@pytest.mark.parametrize("name", RESET)
async def test_a_fault_of_one_stream_ends_that_one_only(name: str) -> None:
    sent, stream, code = RESET[name]
    peer = Peer(Recorder, limits=LIMITS)

    peer.send(sent)
    peer.send(frame(PING, 0, 0, b"are you?"))

    answers = await peer.answers()
    resets = [(one.stream, ErrorCode(one.number)) for one in answers if one.kind == RST_STREAM]
    assert resets == [(stream, code)]
    assert answers[-1] == Frame(PING, ACK, 0, b"are you?")
    assert stream not in peer.connection.streams


# What is sent after the preface, and must be taken without a word.
FINE: dict[str, bytes] = {
    "an unknown frame": frame(99, 255, 12_345, b"anything"),
    "an unknown setting": raw_settings((99, 2**32 - 1)),
    "PRIORITY on an idle stream": frame(PRIORITY, 0, 9, bytes(5)),
    "HEADERS with priority": frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, bytes(5) + encode(REQUEST)),
    "HEADERS with padding": frame(HEADERS, END_HEADERS | PADDED, 1, b"\2" + encode(REQUEST) + bytes(2)),
    "HEADERS with both": frame(HEADERS, 44, 1, b"\2" + bytes(5) + encode(REQUEST) + bytes(2)),
    "a block in pieces": b"".join(
        frame(CONTINUATION if at else HEADERS, 0, 1, encode(REQUEST)[at : at + 20]) for at in range(0, 100, 20)
    ) + frame(CONTINUATION, END_HEADERS, 1),
    "the reserved bit": frame(HEADERS, END_HEADERS, 1 | 2**31, encode(REQUEST)),
    "DATA with padding only": head(1) + frame(DATA, PADDED, 1, b"\3" + bytes(3)),
    "trailers": head(1) + data(1, b"body") + frame(HEADERS, WHOLE, 1, END),
    "skipped streams": head(1) + head(9),
    "WINDOW_UPDATE on a closed stream": head(1, flags=WHOLE) + frame(RST_STREAM, 0, 1, long(8)) + window_update(1, 5),
    "RST_STREAM twice": head(1) + frame(RST_STREAM, 0, 1, long(8)) * 2,
    "the largest window": window_update(0, 2**31 - 1 - 65_535),
    "an acknowledgement": frame(SETTINGS, ACK, 0),
    "a table of nothing": frame(HEADERS, END_HEADERS, 1, b"\x20" + encode(REQUEST)),
    "te: trailers": head(1, (b"te", b"trailers")),
    "an unasked PING's answer": frame(PING, ACK, 0, bytes(8)),
    "GOAWAY": frame(GOAWAY, 0, 0, bytes(8) + b"bye"),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "in bytes"])
async def test_what_is_unusual_but_right_is_taken(name: str, is_cut: bool) -> None:
    peer = Peer(Recorder, limits=LIMITS)
    sent = FINE[name] + frame(PING, 0, 0, b"are you?")

    for part in [sent[at : at + 1] for at in range(len(sent))] if is_cut else [sent]:
        peer.send(part)

    answers = await peer.answers()
    assert [one for one in answers if one.kind in {RST_STREAM, GOAWAY}] == []
    assert answers[-1] == Frame(PING, ACK, 0, b"are you?")


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r?",
        b"\0",
        b"P\0",
        PREFACE + head(1),
        PREFACE + frame(SETTINGS, ACK, 0),
        PREFACE + frame(PING, 0, 0, bytes(8)),
    ],
)
async def test_who_does_not_begin_as_http2_is_sent_away(greeting: bytes) -> None:
    peer = Peer(Recorder, greeting=greeting)

    last = (await peer.answers())[-1]

    assert (last.kind, int.from_bytes(last.payload[4:8], "big")) == (GOAWAY, ErrorCode.PROTOCOL_ERROR)
    assert peer.transport.is_closed


async def test_settings_are_said_and_acknowledged() -> None:
    peer = Peer(Recorder, limits=LIMITS)

    own, window, acknowledgement = await peer.answers()

    said = dict(struct.iter_unpack(">HI", own.payload))
    assert said[Setting.MAX_CONCURRENT_STREAMS] == 3
    assert said[Setting.INITIAL_WINDOW_SIZE] == 1_000
    assert (window.kind, window.number) == (WINDOW_UPDATE, 100_000 - 65_535)
    assert acknowledgement == Frame(SETTINGS, ACK, 0, b"")


async def test_a_request_is_echoed_with_head_body_and_trailers() -> None:
    peer = Peer(Recorder)

    peer.send(head(1, (b"echo", b"")), data(1, b"a bo"), data(1, b"dy", END_STREAM))

    first, body, last = (await peer.answers())[-3:]
    assert peer.fields(first) == {b":status": b"200"}
    assert (body.kind, body.payload) == (DATA, b"a body")
    assert (peer.fields(last), last.flags) == ({b"end": b"1"}, WHOLE)
    assert not peer.connection.streams


async def echo_of(size: int, *, initial: int, limits: Limits = LIMITS) -> Peer:
    """A peer with an initial window of ``initial`` that asked for ``size`` bytes and has given no more window yet."""
    peer = Peer(Recorder, limits=Limits(max_queued_bytes=limits.max_queued_bytes, patience=limits.patience))
    peer.send(settings({Setting.INITIAL_WINDOW_SIZE: initial}))
    peer.send(head(1, (b"echo", b"")), *[data(1, bytes(10_000))] * (size // 10_000), LAST)
    return peer


def sizes(answers: list[Frame]) -> list[int]:
    return [len(one.payload) for one in answers if one.kind == DATA]


async def test_a_body_keeps_to_the_stream_s_window() -> None:
    peer = await echo_of(30_000, initial=1)

    assert sizes(await peer.answers()) == [1]
    peer.send(window_update(1, 5_000))
    assert sizes(await peer.answers()) == [5_000]
    peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 1_001}))  # every stream's window grows by the difference
    assert sizes(await peer.answers()) == [1_000]
    peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 1}))  # and may shrink below nothing
    peer.send(window_update(1, 1_000))
    assert sizes(await peer.answers()) == []
    peer.send(window_update(1, 40_000))
    answers = await peer.answers()
    assert sum(sizes(answers)) == 30_000 - 6_001
    assert max(sizes(answers)) == 16_384
    assert answers[-1].flags == WHOLE


async def test_all_bodies_keep_to_the_connection_s_window_and_take_turns() -> None:
    peer = Peer(Recorder)
    peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 2**20}))
    for stream in (1, 3):
        peer.send(head(stream, (b"echo", b"")), *[data(stream, bytes(50_000))] * 12, data(stream, b"", END_STREAM))

    assert sum(sizes(await peer.answers())) == 65_535
    peer.send(window_update(0, 600_000))
    answers = await peer.answers()
    assert sum(sizes(answers)) == 600_000
    assert {one.stream for one in answers} == {1, 3}
    peer.send(window_update(0, 2**20))
    await peer.answers()
    assert sum(sizes(peer.seen)) == 1_200_000
    assert not peer.connection.streams
    assert peer.connection.queued == 0


async def test_larger_frames_are_used_where_the_peer_takes_them() -> None:
    peer = Peer(Recorder)
    peer.send(settings({Setting.MAX_FRAME_SIZE: 60_000, Setting.INITIAL_WINDOW_SIZE: 2**20}))
    peer.send(head(1, (b"echo", b"")), data(1, bytes(50_000)), LAST)

    assert sizes(await peer.answers()) == [50_000]


async def test_windows_are_given_back_for_what_was_consumed() -> None:
    peer = Peer(Recorder, limits=LIMITS)

    peer.send(head(1), *[data(1, bytes(400))] * 2)
    given = [(one.stream, one.number) for one in await peer.answers() if one.kind == WINDOW_UPDATE]
    assert given[1:] == [(1, 800)]

    peer.send(head(3, (b"hold", b"1")), data(3, bytes(900)))
    assert [one for one in await peer.answers() if one.kind == WINDOW_UPDATE] == []
    peer.connection.streams[3].consumed(900)
    assert [(one.stream, one.number) for one in await peer.answers()] == [(3, 900)]


async def test_the_connection_s_window_comes_back_whatever_becomes_of_the_streams() -> None:
    peer = Peer(Recorder, limits=Limits(stream_window=40_000, connection_window=100_000))
    given = 100_000

    for number in range(60):
        stream = 2 * number + 1
        ends: list[Callable[[], None]] = [
            lambda s=stream: peer.send(frame(RST_STREAM, 0, s, long(8))),  # type: ignore[misc]
            lambda s=stream: peer.connection.streams[s].reset(),  # type: ignore[misc]
            lambda s=stream: peer.connection.streams[s].respond(OK, b"", b"", END),  # type: ignore[misc]
        ]
        assert given >= 16_000
        peer.send(head(stream, (b"hold", b"1")), data(stream, bytes(16_000)))
        given -= 16_000
        ends[number % 3]()
        given += sum(one.number for one in await peer.answers() if (one.kind, one.stream) == (WINDOW_UPDATE, 0)) - (
            100_000 - 65_535 if number == 0 else 0
        )

    assert not peer.connection.is_closing


async def test_a_peer_that_reads_nothing_gets_no_new_streams() -> None:
    peer = Peer(Recorder, limits=LIMITS)
    peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 0}))
    peer.connection.limits = Limits(max_queued_bytes=10_000)
    stream = 1
    while not any(one.kind == RST_STREAM for one in await peer.answers()):
        assert stream < 50
        peer.send(head(stream, (b"echo", b"")), data(stream, bytes(900), END_STREAM))
        stream += 2

    assert [ErrorCode(one.number) for one in peer.seen if one.kind == RST_STREAM] == [ErrorCode.REFUSED_STREAM]
    assert 10_000 < peer.connection.queued < 12_000


async def test_a_full_socket_holds_bodies_back_and_ends_who_asks_on() -> None:
    peer = Peer(Recorder, limits=Limits(max_control_bytes=1_000))
    await peer.answers()
    peer.connection.pause_writing()
    peer.send(head(1, (b"echo", b"")), data(1, b"later", END_STREAM))
    before = len(peer.transport.written)
    await peer.answers()
    assert len(peer.transport.written) == before

    peer.connection.resume_writing()
    assert [one.payload for one in await peer.answers() if one.kind == DATA] == [b"later"]

    peer.connection.pause_writing()
    peer.send(frame(PING, 0, 0, bytes(8)) * 100)
    last = (await peer.answers())[-1]
    assert (last.kind, int.from_bytes(last.payload[4:8], "big")) == (GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)


async def test_an_answer_before_the_request_s_end_stops_the_rest_of_it() -> None:
    peer = Peer(Recorder)
    peer.send(head(1), data(1, b"begun"))

    peer.connection.streams[1].respond(OK, b"", b"", END)

    *_, last, reset = await peer.answers()
    assert last.flags == WHOLE
    assert (reset.kind, reset.number) == (RST_STREAM, ErrorCode.NO_ERROR)
    peer.send(data(1, b"still under way"), frame(HEADERS, WHOLE, 1, END))
    assert await peer.answers() == []


async def test_going_away_finishes_what_was_sent_before_the_peer_knew_and_hears_nothing_after() -> None:
    peer = Peer(Recorder)
    peer.send(head(1, (b"echo", b"")))
    peer.connection.go_away()

    *_, away, ping = await peer.answers()
    assert (away.kind, away.payload) == (GOAWAY, long(2**31 - 1) + long(0))
    peer.send(head(3, (b"echo", b"")), frame(PING, ACK, 0, ping.payload))
    (away,) = await peer.answers()
    assert (away.kind, away.payload) == (GOAWAY, long(3) + long(0))
    peer.send(head(5, (b"echo", b""), flags=WHOLE))
    assert await peer.answers() == []
    for stream in (1, 3):
        assert not peer.transport.is_closed
        peer.send(data(stream, b"last", flags=END_STREAM))
        assert (await peer.answers())[-1].flags == WHOLE
    assert peer.transport.is_closed


async def test_a_peer_that_answers_no_ping_is_given_a_moment_to_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.http2.connection._FAREWELL_S", 0)
    peer = Peer(Recorder)
    peer.connection.go_away()
    assert not peer.transport.is_closed

    await asyncio.sleep(0.001)

    assert peer.transport.is_closed


async def test_a_lost_connection_ends_its_streams_and_says_so() -> None:
    peer = Peer(Recorder)
    peer.send(head(1), head(3, flags=WHOLE))
    streams = [stream for stream in peer.connection.streams.values() if isinstance(stream, Recorder)]

    peer.connection.connection_lost(ConnectionResetError("reset"))

    assert [stream.end for stream in streams] == [(ErrorCode.CANCEL, "the connection is lost: reset")] * 2
    for stream in streams:
        stream.respond(OK, b"", b"late", END)  # nobody hears it, and nothing breaks
        stream.reset()
    assert peer.connection.closed.done()


async def test_a_lost_connection_leaves_nothing_to_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        connection = Peer(Recorder).connection
        trace = weakref.ref(connection)
        connection.connection_lost(None)
        await asyncio.sleep(0)
        del connection
        assert trace() is None
    finally:
        gc.enable()


async def test_cached_header_blocks_mean_what_they_meant() -> None:
    """A client that indexes: its later blocks depend on the dynamic table, which other blocks change."""
    peer, encoder = Peer(Recorder, limits=Limits(max_streams=10**6)), Encoder()
    wanted = []
    for number in range(300):
        tag = b"%d" % (number % 7 if number < 200 else number)
        if number == 100:
            encoder.header_table_size = 64
        if number == 120:
            encoder.header_table_size = 4_096
        fields = [*REQUEST, (b"tag", tag), (b"long", bytes([97 + number % 3]) * 900)]
        wanted.append(fields)
        peer.send(frame(HEADERS, END_HEADERS, 2 * number + 1, encoder.encode(fields)))

    heard = [stream.heads[0].fields for stream in peer.connection.streams.values() if isinstance(stream, Recorder)]
    assert heard == wanted


async def test_the_same_block_is_read_once() -> None:
    peer, encoder = Peer(Recorder), Encoder()
    for number in range(4):
        peer.send(frame(HEADERS, END_HEADERS, 2 * number + 1, encoder.encode([*REQUEST, (b"tag", b"x")])))

    heads = [stream.heads[0] for stream in peer.connection.streams.values() if isinstance(stream, Recorder)]
    assert heads[1] is heads[2] is heads[3]


@pytest.mark.parametrize("piece", [1, 7, 8_200, 9_000, 16_392, 16_393, 16_394, 40_000, 10**6])
async def test_long_frames_are_heard_as_they_come_and_lose_nothing(piece: int) -> None:
    body = bytes(range(251)) * 400
    peer = Peer(Recorder)
    frames = [data(1, body[at : at + 16_384]) for at in range(0, len(body), 16_384)]
    sent = b"".join([head(1), head(3), *frames, data(3, b"other"), frame(PING, 0, 0, b"12345678"), LAST])

    for at in range(0, len(sent), piece):
        peer.send(sent[at : at + piece])
    first, other = peer.connection.streams.values()

    assert isinstance(first, Recorder)
    assert isinstance(other, Recorder)
    assert (first.body, first.is_read, other.body, other.is_read) == (body, True, b"other", False)
    assert Frame(PING, ACK, 0, b"12345678") in await peer.answers()


async def test_a_long_frame_ends_its_stream_with_its_last_byte() -> None:
    peer = Peer(Recorder)
    sent = head(1) + data(1, bytes(16_384), END_STREAM)
    peer.send(sent[:-1])
    (stream,) = peer.connection.streams.values()
    assert isinstance(stream, Recorder)
    assert (len(stream.body), stream.is_read) == (16_383, False)
    peer.send(sent[-1:])
    assert (len(stream.body), stream.is_read) == (16_384, True)


async def test_a_long_frame_of_a_stream_that_ends_midway_is_passed_over() -> None:
    peer = Peer(Recorder)
    sent = head(1) + data(1, bytes(16_384))
    peer.send(sent[:10_000])
    (stream,) = peer.connection.streams.values()
    stream.reset()
    peer.send(sent[10_000:], head(3), data(3, b"x", END_STREAM))
    (other,) = peer.connection.streams.values()
    assert isinstance(other, Recorder)
    assert other.body == b"x"
    assert not peer.transport.is_closed
