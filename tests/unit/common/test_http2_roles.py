"""Both roles of an HTTP/2 connection against each other: whatever is said arrives, whole and in order."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common import http2
from services.common.http2 import Connection, ErrorCode, Headers, Limits, Stream, StreamClosedError, encode, frames
from tests.support.http2_peer import NO_SETTINGS, Peer
from tests.support.waiting import until

REQUEST = encode([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/echo"), (b":authority", b"here")])
OK = encode([(b":status", b"200")])
END = encode([(b"end", b"1")])


class Echo(Stream):
    """Sends back what it hears, and consumes it when that has left."""

    def on_headers(self, headers: Headers, *, is_last: bool) -> None:
        self.send_headers(OK)
        if is_last:
            self.send_headers(END, is_last=True)

    def on_data(self, data: bytes, *, is_last: bool) -> int:
        self.send_data(data)
        if is_last:
            self.send_headers(END, is_last=True)
        return len(data)

    def on_trailers(self, headers: Headers) -> None:
        self.send_headers(encode(headers.fields), is_last=True)


class Asking(Stream):
    """A client's stream that keeps what it hears."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, connection.next_id())
        self.head: Headers | None = None
        self.trailers: Headers | None = None
        self.body = b""
        self.ended: asyncio.Future[tuple[int, str] | None] = connection.loop.create_future()

    def on_headers(self, headers: Headers, *, is_last: bool) -> None:
        self.head = headers
        if is_last:
            self.ended.set_result(None)

    def on_data(self, data: bytes, *, is_last: bool) -> int:
        self.body += data
        if is_last:
            self.ended.set_result(None)
        return len(data)

    def on_trailers(self, headers: Headers) -> None:
        self.trailers = headers
        self.ended.set_result(None)

    def on_closed(self, code: int, text: str) -> None:
        self.ended.set_result((code, text))


class Pipe:
    """A transport that keeps what is written until :meth:`carry` brings it to the other end, in pieces."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.is_closed = False

    def get_extra_info(self, name: str) -> Any:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        """There is none."""

    def write(self, data: bytes) -> None:
        self.kept += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def carry(self, other: Connection, size: int) -> bool:
        piece = bytes(self.kept[:size])
        del self.kept[:size]
        if piece:
            other.data_received(piece)
        return bool(piece)


async def talk(bodies: list[list[bytes]], *, limits: Limits, piece: int) -> list[Asking]:
    """One stream for each list of pieces, all at once, over a wire that carries ``piece`` bytes at a time."""
    server, client = Connection(limits=limits, accept=Echo), Connection(limits=limits)
    to_client, to_server = Pipe(), Pipe()
    server.connection_made(to_client)
    client.connection_made(to_server)
    await asyncio.sleep(0)
    to_client.carry(client, 1_000)  # so that the client knows the windows
    streams = []
    for parts in bodies:
        streams.append(Asking(client))
        client.open(streams[-1], REQUEST)
        for part in parts:
            streams[-1].send_data(part)
        streams[-1].send_data(is_last=True)
    idle = 0
    while idle < 3:
        await asyncio.sleep(0)
        moved = [to_server.carry(server, piece), to_client.carry(client, piece)]
        idle = 0 if any(moved) else idle + 1
    assert not server.streams
    assert not client.streams
    assert (server.queued, client.queued) == (0, 0)
    server.connection_lost(None)
    client.connection_lost(None)
    return streams


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 1_000), max_size=4), min_size=1, max_size=5),
    window=st.integers(1, 5_000),
    piece=st.integers(1, 4_000),
)
def test_what_is_said_arrives_whole_and_in_order(sizes: list[list[int]], window: int, piece: int) -> None:
    bodies = [[bytes([97 + n % 26]) * size for n, size in enumerate(parts)] for parts in sizes]
    limits = Limits(stream_window=window, connection_window=65_535, patience=10**6)

    streams = asyncio.run(talk(bodies, limits=limits, piece=piece))

    assert [stream.body for stream in streams] == [b"".join(parts) for parts in bodies]
    assert all(stream.ended.result() is None for stream in streams)
    assert all(stream.trailers and stream.trailers.get(b"end") == b"1" for stream in streams)


async def test_large_bodies_pass_small_windows() -> None:
    body = bytes(range(256)) * 4_096

    streams = await talk([[body]] * 3, limits=Limits(stream_window=50_000, connection_window=65_535), piece=30_000)

    assert [stream.body for stream in streams] == [body] * 3


class Real:
    """A server and a client on loopback."""

    async def __aenter__(self) -> Self:
        self.accepted: list[Connection] = []
        self.server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.client = await http2.connect("127.0.0.1", self.port)
        return self

    def _accept(self) -> Connection:
        self.accepted.append(Connection(limits=Limits(stream_window=65_535), accept=Echo))
        return self.accepted[-1]

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for connection in (self.client, *self.accepted):
            connection.abort()
            await connection.closed

    def ask(self) -> Asking:
        stream = Asking(self.client)
        self.client.open(stream, REQUEST)
        return stream


async def test_a_client_talks_over_a_socket_and_waits_for_the_window() -> None:
    async with Real() as real:
        stream = real.ask()
        for number in range(40):
            stream.send_data(bytes([number]) * 30_000)
            await stream.drain()
        stream.send_data(b"end", is_last=True)

        assert await stream.ended is None
        assert stream.body == b"".join(bytes([number]) * 30_000 for number in range(40)) + b"end"
        assert real.client.streams == {}


async def test_trailers_may_end_a_request() -> None:
    async with Real() as real:
        stream = real.ask()
        stream.send_headers(encode([(b"sum", b"1")]), is_last=True)

        await stream.ended
        assert stream.trailers is not None
        assert stream.trailers.fields == [(b"sum", b"1")]


async def test_a_lost_connection_is_told_to_whoever_waits() -> None:
    async with Real() as real:
        stream = real.ask()
        stream.send_data(b"x" * 100)
        await asyncio.sleep(0)
        real.client.pause_writing()
        stream.send_data(b"never")
        draining = asyncio.ensure_future(stream.drain())
        await asyncio.sleep(0)
        real.accepted[0].abort()

        with pytest.raises(StreamClosedError):
            await draining
        code, text = await stream.ended or (0, "")
        assert code == ErrorCode.CANCEL
        assert text.startswith("the connection is lost")
        with pytest.raises(ConnectionError):
            real.client.next_id()


async def test_a_server_that_goes_away_ends_what_it_has_not_heard() -> None:
    peer = Peer(None)
    heard, unheard = Asking(peer.connection), Asking(peer.connection)
    for stream in (heard, unheard):
        peer.connection.open(stream, REQUEST)

    peer.send(frames.goaway(1, ErrorCode.NO_ERROR))

    assert (await unheard.ended or (0, ""))[0] == ErrorCode.REFUSED_STREAM
    assert not heard.ended.done()
    with pytest.raises(ConnectionError):
        peer.connection.next_id()
    peer.send(frames.headers(1, OK, is_last=True, max_frame=2**14))
    heard.send_data(is_last=True)
    await peer.answers()
    assert heard.ended.result() is None
    assert peer.transport.is_closed


async def test_a_client_keeps_to_the_number_of_streams_that_the_server_takes() -> None:
    peer = Peer(None, greeting=frames.settings({frames.Setting.MAX_CONCURRENT_STREAMS: 1}))
    peer.connection.open(Asking(peer.connection), REQUEST)

    with pytest.raises(ConnectionError, match="no more than 1"):
        peer.connection.next_id()


async def test_an_interim_response_is_skipped() -> None:
    peer = Peer(None)
    stream = Asking(peer.connection)
    peer.connection.open(stream, REQUEST)

    peer.send(frames.headers(1, encode([(b":status", b"100")]), is_last=False, max_frame=2**14))
    peer.send(frames.headers(1, OK, is_last=True, max_frame=2**14))

    assert stream.head is not None
    assert stream.head.get(b":status") == b"200"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frames.headers(2, OK, is_last=True, max_frame=2**14), ErrorCode.PROTOCOL_ERROR),
        (frames.headers(3, OK, is_last=True, max_frame=2**14), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({frames.Setting.ENABLE_PUSH: 1}), ErrorCode.PROTOCOL_ERROR),
    ],
)
async def test_a_server_s_fault_ends_the_connection(sent: bytes, code: ErrorCode) -> None:
    peer = Peer(None)
    stream = Asking(peer.connection)
    peer.connection.open(stream, REQUEST)

    peer.send(sent)

    assert (await stream.ended or (0, ""))[0] == code
    assert peer.transport.is_closed


async def test_connecting_to_what_is_no_http2_fails() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConnectionError):
            await http2.connect("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    peer = Peer(None, limits=Limits(keepalive_s=0.02, keepalive_timeout_s=0.02), greeting=NO_SETTINGS)
    stream = Asking(peer.connection)
    peer.connection.open(stream, REQUEST)

    await until(lambda: peer.transport.is_closed)

    assert any(one.kind == frames.PING and not one.flags for one in await peer.answers())
    peer.connection.connection_lost(None)
    assert (await stream.ended or (0, ""))[1] == "the connection is lost: the peer answers nothing"


async def test_a_peer_that_answers_is_kept() -> None:
    peer = Peer(None, limits=Limits(keepalive_s=0.02, keepalive_timeout_s=5))
    pings = 0
    async with asyncio.timeout(10):
        while pings < 3:
            for one in await peer.answers():
                if one.kind == frames.PING:
                    pings += 1
                    peer.send(frames.frame(frames.PING, frames.ACK, 0, one.payload))
            await asyncio.sleep(0.005)

    assert not peer.transport.is_closed


async def test_a_peer_without_settings_is_given_up() -> None:
    peer = Peer(Echo, limits=Limits(handshake_s=0.02), greeting=b"")

    await until(lambda: peer.transport.is_closed)

    last = (await peer.answers())[-1]
    assert int.from_bytes(last.payload[4:8], "big") == ErrorCode.SETTINGS_TIMEOUT
