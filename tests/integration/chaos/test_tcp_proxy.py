from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """The address of a server that sends back what it gets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()


async def connect(way: TcpProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = way.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_bytes_and_the_end_pass_both_ways(echo: str) -> None:
    async with TcpProxy(echo) as way:
        reader, writer = await connect(way)
        sent = bytes(range(256)) * 10_000
        writer.write(sent)
        writer.write_eof()
        assert await reader.read(-1) == sent
        writer.close()


async def test_a_stalled_way_loses_nothing(echo: str) -> None:
    async with TcpProxy(echo) as way:
        reader, writer = await connect(way)
        way.stall()
        writer.write(b"late")
        answer = asyncio.create_task(reader.readexactly(4))
        await asyncio.sleep(0.05)
        assert not answer.done()
        way.resume()
        assert await answer == b"late"
        writer.close()


async def test_a_slow_way_takes_its_time_each_way(echo: str) -> None:
    async with TcpProxy(echo) as way:
        reader, writer = await connect(way)
        way.delay(0.05)
        start = asyncio.get_running_loop().time()
        writer.write(b"slow")
        assert await reader.readexactly(4) == b"slow"
        assert asyncio.get_running_loop().time() - start >= 0.1
        writer.close()


async def test_a_way_that_is_cut_resets_and_refuses_until_it_listens_again(echo: str) -> None:
    async with TcpProxy(echo) as way:
        reader, writer = await connect(way)
        writer.write(b"here")
        assert await reader.readexactly(4) == b"here"
        await way.cut()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await connect(way)
        await way.listen()
        reader, writer = await connect(way)
        writer.write(b"back")
        assert await reader.readexactly(4) == b"back"
        writer.close()
