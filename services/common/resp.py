"""A Redis connection for hot paths: packed commands out, answers in, nothing between. Anything rare is redis-py's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn, Self

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from services.common.redis_connection import connect

Command = tuple[str | bytes | int, ...]
Take = Callable[[list[Any], Exception | None], None]

ANSWER_S = 2.0
"""How long Redis may take to answer before its connection counts as half-open: recovery begins then."""

_RESP2 = 2


class RespConnection(asyncio.Protocol):
    """One connection. Commands of several callers may be under way; each gets its own answers, as bytes.

    An answer that is overdue breaks the connection, as what follows it would be overdue too. One timer, set anew only
    when it fires, watches over all answers: ``asyncio.timeout`` around each takes 7 % of a model process (benchmarks).
    """

    def __init__(self, connection: AbstractConnection, url: str) -> None:
        self.url = url
        """The server at the other end."""
        self._connection = connection
        # redis-py did the greeting: TLS, password, database. From here on its streams would only be in the way.
        self._transport: Any = connection._writer.transport  # type: ignore[union-attr]  # noqa: SLF001 - no public way
        self._transport.set_protocol(self)
        self._reader = hiredis.Reader(replyError=ResponseError)
        self._loop = asyncio.get_running_loop()
        self._expected: deque[tuple[Take, int, float]] = deque()
        self._answers: list[Any] = []
        self._watch: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[RedisConnectionError] = self._loop.create_future()

    @classmethod
    async def open(cls, url: str, *, within_s: float) -> Self:
        """Connect to one server, ``redis://``, ``rediss://`` or ``unix://``.

        Raises:
            RedisError: Redis can't be reached, or refuses.
            OSError, TimeoutError: likewise.
        """
        connection = connect(url, protocol=_RESP2).connection_pool.make_connection()
        try:
            async with asyncio.timeout(within_s):
                await connection.connect()
            return cls(connection, url)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    @property
    def is_closed(self) -> bool:
        return bool(self._transport.is_closing())

    def send(self, packed: bytes, count: int, take: Take, *, within_s: float) -> None:
        """Send ``count`` commands as one piece of packed bytes; ``take`` is called once, and must not raise.

        It gets all answers, in order and with a ResponseError for each command that Redis refused; or those that came
        and the ConnectionError that ended the waiting for the others, which may have been done nevertheless.
        ``within_s`` is a limit for the answers that only a broken connection reaches; it may be noticed late by as much
        as the longest limit under way.
        """
        if self._transport.is_closing():
            take([], RedisConnectionError("the connection to Redis is closed"))
            return
        due = self._loop.time() + within_s
        self._expected.append((take, count, due))
        if self._watch is None:
            self._watch = self._loop.call_at(due, self._look)
        self._transport.write(packed)

    def execute(self, *commands: Command, within_s: float, raise_on_error: bool = True) -> asyncio.Future[list[Any]]:
        """Send commands; the result is their answers, or the first error among them. ``within_s``: see :meth:`send`.

        Without ``raise_on_error`` what Redis refused is a ResponseError among the answers.

        Raises:
            ResponseError: Redis refused a command; the others are done nevertheless.
            redis.exceptions.ConnectionError: the connection is or gets lost.
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()

        def take(answers: list[Any], error: Exception | None) -> None:
            if future.done():
                return
            if error is None and raise_on_error:
                error = next((answer for answer in answers if isinstance(answer, ResponseError)), None)
            if error is None:
                future.set_result(answers)
            else:
                future.set_exception(error)

        self.send(b"".join(map(hiredis.pack_command, commands)), len(commands), take, within_s=within_s)
        return future

    def data_received(self, data: bytes) -> None:
        reader, expected, answers = self._reader, self._expected, self._answers
        reader.feed(data)
        while expected and (answer := reader.gets()) is not False:
            answers.append(answer)
            if len(answers) == expected[0][1]:
                take = expected.popleft()[0]
                self._answers, whole = [], answers
                answers = self._answers
                take(whole, None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        error = RedisConnectionError(f"the connection to Redis was lost: {exc or 'closed'}")
        self._lost.set_result(error)
        while self._expected:
            answers, self._answers = self._answers, []
            self._expected.popleft()[0](answers, error)

    async def wait_lost(self) -> NoReturn:
        """Wait until the connection is lost or closed.

        Raises:
            redis.exceptions.ConnectionError: it is.
        """
        raise await asyncio.shield(self._lost)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        await self.close()

    def abort(self) -> None:
        """Break the connection; whoever still waits gets an error, soon."""
        self._transport.abort()

    def finish(self) -> None:
        """Break the connection once what is under way has its answers, or is overdue."""
        ping = hiredis.pack_command(("PING",))
        self.send(ping, 1, lambda _answers, _error: self.abort(), within_s=ANSWER_S)

    async def close(self) -> None:
        """Close at once; whoever still waits gets an error."""
        self._transport.abort()
        await self._connection.disconnect(nowait=True)

    def _look(self) -> None:
        self._watch = None
        if self._expected:
            due = self._expected[0][2]
            if self._loop.time() < due:
                self._watch = self._loop.call_at(due, self._look)
            else:
                self._transport.abort()


def is_memory_full(error: object) -> bool:
    """Whether Redis refused a command because its memory is full (``maxmemory``)."""
    return isinstance(error, ResponseError) and str(error).startswith("OOM ")


def told(info: bytes, name: str) -> str:
    """What Redis's answer to INFO (or CLUSTER INFO) says of one thing.

    Raises:
        RedisError: nothing.
    """
    start = f"{name}:".encode()
    for line in info.splitlines():
        if line.startswith(start):
            return line[len(start) :].decode()
    raise RedisError(f"Redis's answer to INFO has no {name}")
