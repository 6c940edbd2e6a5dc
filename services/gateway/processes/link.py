"""Questions and answers between a parent and one of its processes, both ways over one socket."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

Answering = Callable[[str, list[Any]], Awaitable[Any]]
"""Gets a question and its arguments; what it returns is the answer, as JSON."""


class Link:
    """One end. A message is 4 bytes of length (big-endian) and that much JSON; only :meth:`run` reads.

    The ends trust each other: the socket pair is theirs alone.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: Answering) -> None:
        self._reader = reader
        self._writer = writer
        self._answering = answering
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    @classmethod
    async def over(cls, end: socket.socket, answering: Answering) -> Link:
        """A link over one end of a socket pair, which it owns from then on."""
        return cls(*await asyncio.open_unix_connection(sock=end), answering)

    async def ask(self, question: str, *arguments: Any) -> Any:
        """The other end's answer.

        Raises:
            ConnectionError: it left, or failed to answer.
        """
        if self._writer.is_closing():
            raise ConnectionResetError(f"asked for {question}, but the other process has left")
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(question=question, number=number, arguments=arguments)
            return await answer
        finally:
            del self._asked[number]

    async def run(self) -> None:
        """Take messages until the other end leaves."""
        try:
            async with asyncio.TaskGroup() as answering:
                while True:
                    size = int.from_bytes(await self._reader.readexactly(4), "big")
                    message = json.loads(await self._reader.readexactly(size))
                    if "question" in message:
                        answering.create_task(self._answer(**message))
                    elif (asked := self._asked.get(message["number"])) is not None and not asked.done():
                        _settle(asked, message)
        except* (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writer.close()
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(ConnectionResetError("the other process left before it answered"))

    async def _answer(self, question: str, number: int, arguments: list[Any]) -> None:
        try:
            self._send(number=number, answer=await self._answering(question, arguments))
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self._send(number=number, failure=repr(error))

    def _send(self, **message: Any) -> None:
        data = json.dumps(message).encode()
        self._writer.write(len(data).to_bytes(4, "big") + data)


def _settle(asked: asyncio.Future[Any], message: dict[str, Any]) -> None:
    if "failure" in message:
        asked.set_exception(ConnectionError(f"the other process failed to answer: {message['failure']}"))
    else:
        asked.set_result(message["answer"])
