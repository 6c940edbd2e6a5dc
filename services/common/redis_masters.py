"""Finds the server that serves a key: the only one, the master that sentinels agree on, or the shard of a cluster."""

from __future__ import annotations

import asyncio
import binascii
import bisect
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from services.common.redis_connection import RedisUrl
from services.common.resp import Command, RespConnection, told

LOST = (RedisError, OSError, TimeoutError)
"""What is raised when Redis is away, refuses, or doesn't answer in time."""

_LOOK_S = 1.0
_OPEN_S = 2.0
_ASKED = 8
"""Nodes of a cluster that are asked about the others."""
_SLOTS = 16_384

_Answer = tuple[str, list[Any]]
"""Who was asked, and what it answered to each command."""


@dataclass(frozen=True, slots=True)
class Masters:
    """Who serves what: for each range of slots its last slot and the URL of its master, in order; "" is nobody."""

    ends: tuple[int, ...]
    servers: tuple[str, ...]

    def of(self, key: str) -> str:
        """The URL of the master that serves a key, "" where nobody does."""
        at = bisect.bisect_left(self.ends, slot_of(key)) if len(self.ends) > 1 else 0
        return self.servers[at] if at < len(self.servers) else ""


def slot_of(key: str) -> int:
    """The slot of a Redis Cluster that a key belongs to."""
    _, _, rest = key.partition("{")
    tag, brace, _ = rest.partition("}")
    return binascii.crc_hqx((tag if tag and brace else key).encode(), 0) % _SLOTS


class RedisMasters:
    """Looks up masters, anew each time, and connects to them. Keeps no connection."""

    def __init__(self, url: str) -> None:
        """``url`` is any of the forms of :class:`RedisUrl`.

        Raises:
            ValueError: it is none of them.
        """
        self._url = RedisUrl.parse(url)
        self._nodes = self._url.entrances

    @property
    def is_cluster(self) -> bool:
        return self._url.topology == "cluster"

    async def find(self) -> Masters:
        """Look up who serves what.

        Raises:
            RedisError: nobody who knows can be asked.
        """
        if self._url.topology == "sentinel":
            return Masters((_SLOTS - 1,), (await self._ask_sentinels(),))
        if self._url.topology == "cluster":
            return await self._ask_nodes()
        return Masters((_SLOTS - 1,), self._url.entrances)

    async def open_for(self, key: str) -> RespConnection:
        """Connect to the master that serves a key; look it up first.

        Raises:
            RedisError, OSError, TimeoutError: there is none, or it can't be reached.
        """
        server = (await self.find()).of(key)
        if not server:
            raise RedisConnectionError("no node of the cluster serves this slot")
        return await self.open(server)

    async def open(self, server: str) -> RespConnection:
        """Connect to a master.

        Raises:
            RedisError, OSError, TimeoutError: it can't be reached, or is none.
        """
        connection = await RespConnection.open(server, within_s=_OPEN_S)
        try:
            if self._url.topology != "standalone":
                ((role, *_),) = await connection.execute(("ROLE",), within_s=_OPEN_S)
                if role != b"master":
                    raise RedisConnectionError("this Redis is a replica just now")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _ask_sentinels(self) -> str:
        """What most sentinels say of those that answer."""
        half = len(self._nodes) // 2
        command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
        answers = await _ask_all(self._nodes, command, is_enough=lambda found: _most_common(found)[1] > half)
        address, votes = _most_common(answers)
        if not votes:
            raise RedisConnectionError(f"no sentinel answers and knows a master {self._url.service!r}")
        return self._url.server(address[0].decode(), int(address[1]))

    async def _ask_nodes(self) -> Masters:
        """What the node says that knows of the latest change, among most of those that answer."""
        half = len(self._nodes) // 2
        questions = ("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")
        answers = await _ask_all(self._nodes, *questions, is_enough=lambda found: len(found) > half)
        if not answers:
            raise RedisConnectionError("no node of the cluster answers")
        asked, (_, slots) = max(answers, key=lambda one: _rank(one[1][0]))
        own = urlsplit(asked).hostname or ""
        ranges = sorted(
            (first, last, [_server(self._url, node, own) for node in nodes]) for first, last, *nodes in slots
        )
        found = chain.from_iterable(nodes for _, _, nodes in ranges)
        self._nodes = tuple(dict.fromkeys((*self._url.entrances[: _ASKED // 2], *found)))[:_ASKED]
        return _table([(first, last, nodes[0]) for first, last, nodes in ranges])


def _most_common(answers: Sequence[_Answer]) -> tuple[tuple[bytes, ...], int]:
    addresses = Counter(tuple(address) for _, (address,) in answers if address)
    return max(addresses.items(), key=lambda one: one[1], default=((), 0))


def _rank(info: bytes) -> tuple[bool, int]:
    return told(info, "cluster_state") == "ok", int(told(info, "cluster_current_epoch"))


def _server(url: RedisUrl, node: Sequence[Any], own_host: str) -> str:
    """A node may not know its own address: it is the one it was asked at."""
    host, port, *_ = node
    return url.server(host.decode() if host else own_host, port)


def _table(ranges: Iterable[tuple[int, int, str]]) -> Masters:
    ends: list[int] = []
    servers: list[str] = []
    for first, last, server in ranges:
        if first > (ends[-1] + 1 if ends else 0):
            ends.append(first - 1)
            servers.append("")
        ends.append(last)
        servers.append(server)
    return Masters(tuple(ends), tuple(servers))


async def _ask_all(
    servers: Sequence[str], *commands: Command, is_enough: Callable[[list[_Answer]], bool]
) -> list[_Answer]:
    """Ask all at once, until that is enough; who doesn't answer in time is left out."""
    asking = [asyncio.create_task(_ask(server, commands)) for server in servers]
    answers: list[_Answer] = []
    try:
        for next_one in asyncio.as_completed(asking):
            with contextlib.suppress(*LOST):
                answers.append(await next_one)
                if is_enough(answers):
                    break
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return answers


async def _ask(server: str, commands: Sequence[Command]) -> _Answer:
    async with asyncio.timeout(_LOOK_S):
        async with await RespConnection.open(server, within_s=_LOOK_S) as connection:
            return server, await connection.execute(*commands, within_s=_LOOK_S)
