"""How a running launcher is asked for something: a unix socket, a JSON object in a line, and events back."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from penstock.launcher.keeper import RestartError
from penstock.launcher.parts import StartError
from penstock.launcher.reporter import Reporter
from penstock.launcher.reports import JsonReporter


class Commands(Protocol):
    """What can be asked for."""

    async def restart(
        self, names: Sequence[str], *, is_rolling: bool, listener: Reporter, is_wanted: Callable[[], bool]
    ) -> None: ...
    def stop(self) -> None: ...


class Control:
    """The launcher's end, while it is entered. Whoever may open the socket may ask: its user.

    Raises:
        StartError: on entering, when it can't be had.
    """

    def __init__(self, path: Path, commands: Commands) -> None:
        self._path = path
        self._commands = commands
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._accept, self._path)
        except OSError as error:
            raise StartError(f"can't listen on {self._path}: {error.strerror or error}") from None
        finally:
            os.umask(before)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        self._path.unlink(missing_ok=True)
        for task in self._answering:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._answer(reader, writer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def tell(**fields: object) -> None:
            writer.write(json.dumps(fields).encode() + b"\n")

        try:
            request = json.loads(await reader.readline())
            if request["command"] == "stop":
                tell(event="stopping")
                self._commands.stop()
                await asyncio.Event().wait()  # the end of the connection says that everything has stopped
            await self._commands.restart(
                request["parts"],
                is_rolling=request["is_rolling"],
                listener=JsonReporter(lambda line: writer.write(line.encode())),
                is_wanted=lambda: not reader.at_eof(),
            )
            tell(event="done")
        except RestartError as error:
            tell(event="failed", why=str(error))
        except (ValueError, TypeError, KeyError) as error:
            tell(event="failed", why=f"this is no command that the launcher knows: {error!r}")
        finally:
            writer.close()


def ask(path: Path, **request: object) -> Iterator[dict[str, Any]]:
    """Ask a launcher, and give its events until it has no more to say.

    Raises:
        OSError: no launcher listens there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as events:
            for line in events:
                yield json.loads(line)
