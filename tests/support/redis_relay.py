"""A relay before Redis that can cut between any two commands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path


class RedisRelay:
    """Passes commands on to a real Redis and answers back, on a unix socket of its own.

    After :meth:`cut_after` the connections break at a certain command, and no new ones are taken until :meth:`mend`.
    """

    def __init__(self, target: Path, path: Path, *, on_cut: Callable[[], None]) -> None:
        self._target = target
        self._path = path
        self._on_cut = on_cut
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._commands_left: int | None = None
        self._is_last_answered = False
        self.is_cut = False

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    def cut_after(self, commands: int, *, is_last_answered: bool) -> None:
        """Cut once so many more commands were passed on: at once, or when the next one comes."""
        self._commands_left, self._is_last_answered = commands, is_last_answered
        if not commands and not is_last_answered:
            self.cut()

    def cut(self) -> None:
        if not self.is_cut:
            self.is_cut, self._commands_left = True, None
            for writer in self._open:
                writer.transport.abort()
            self._on_cut()

    def mend(self) -> None:
        self.is_cut = False

    async def close(self) -> None:
        self.is_cut = True
        for writer in self._open:
            writer.transport.abort()
        if self._server is not None:
            self._server.close()
        while self._open:  # noqa: ASYNC110 - for the handlers to end
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                if not self.is_cut:
                    await self._join(reader, writer)
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, redis = await asyncio.open_unix_connection(self._target, limit=2**24)
        self._open.add(redis)
        answers = asyncio.create_task(_pump(upstream, writer))
        try:
            while not self.is_cut and (command := await _command(reader)):
                self._pass_on(command, redis)
        finally:
            answers.cancel()
            self._open.discard(redis)
            redis.transport.abort()
            await asyncio.gather(answers, return_exceptions=True)

    def _pass_on(self, command: bytes, redis: asyncio.StreamWriter) -> None:
        if self._commands_left == 0:
            self.cut()
            return
        redis.write(command)
        if self._commands_left is not None:
            self._commands_left -= 1
            if not self._commands_left and not self._is_last_answered:
                self.cut()


async def _command(reader: asyncio.StreamReader) -> bytes:
    """The next command, or nothing at the end."""
    try:
        parts = [await reader.readuntil(b"\r\n")]
        for _ in range(int(parts[0][1:])):
            size = await reader.readuntil(b"\r\n")
            parts += [size, await reader.readexactly(int(size[1:]) + 2)]
    except (asyncio.IncompleteReadError, OSError):
        return b""
    return b"".join(parts)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
    writer.transport.abort()
