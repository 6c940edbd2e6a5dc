"""A TCP connection that can be slow, silent or broken: a proxy between two parts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16
_CHUNKS = 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Direction:
    """One way through a proxy; what it is told holds for all connections."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._passes = asyncio.Event()
        self._passes.set()

    def stall(self) -> None:
        """Let nothing pass: no byte, and no end of a connection either."""
        self._passes.clear()

    def resume(self) -> None:
        self._passes.set()

    async def passing(self) -> None:
        """Wait until it lets something pass."""
        await self._passes.wait()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes until it ends."""
        arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(reader, arrived))
            group.create_task(self._write(arrived, writer))

    async def _read(self, reader: asyncio.StreamReader, arrived: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            await self.passing()
            data = await reader.read(_CHUNK)
            await arrived.put((asyncio.get_running_loop().time(), data))

    async def _write(self, arrived: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            at, data = await arrived.get()
            if (left := at + self.delay_s - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(left)
            await self.passing()
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


class TcpProxy:
    """Listens, and passes connections on to ``target`` (``host:port``), until told otherwise.

    ``up`` is the way from who connected to the target, ``down`` the way back.
    """

    def __init__(self, target: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = target.rpartition(":")
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.up, self.down = Direction(), Direction()

    @property
    def address(self) -> str:
        return f"{self._host}:{self._port}"

    async def listen(self) -> None:
        """Take connections (again)."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Reset all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.reset()

    async def reset(self) -> None:
        """Reset all connections."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def stall(self) -> None:
        """Let nothing pass either way; connections stay open, and new ones are taken."""
        self.up.stall()
        self.down.stall()

    def delay(self, seconds: float) -> None:
        """Let everything take longer, each way."""
        self.up.delay_s = self.down.delay_s = seconds

    def resume(self) -> None:
        """Be a good connection again."""
        self.delay(0.0)
        self.up.resume()
        self.down.resume()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        with contextlib.suppress(OSError, ExceptionGroup, asyncio.CancelledError):  # it is over, whatever ended it
            await self._connect(reader, writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target
        with _resetting(writer):
            await self.up.passing()
            there, back = await asyncio.open_connection(host, int(port))
            with _resetting(back):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.up.carry(reader, back))
                    group.create_task(self.down.carry(there, writer))

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.cut()


@contextlib.contextmanager
def _resetting(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Close a connection in order when all was carried; reset it when something ends it before."""
    try:
        yield
    except BaseException:
        connection: socket.socket = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
        raise
    writer.close()
