"""Sees which lanes are served, whether Redis is there and still the same, and whether it still has what it took."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.common.lane_clock import LaneClock
from services.common.lanes import LaneKeys
from services.common.redis_masters import LOST, Masters, RedisMasters
from services.common.resp import ANSWER_S, Command, RespConnection, told

# Whether an entry is in a stream, without its content crossing the connection.
_IS_THERE = "return #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What Redis said. ``run_ids`` tells by server who its masters are.

    ``live_consumers`` are those of each lane asked about, in that order, None where a shard did not answer;
    ``are_gone`` tells of each entry whether it is known not to be there.
    """

    run_ids: Mapping[str, str]
    live_consumers: list[int | None]
    are_gone: list[bool]


class LaneWatch:
    """Asks Redis over a connection of its own, one for each master, opened when needed."""

    def __init__(self, masters: RedisMasters) -> None:
        self._lookup = masters
        self._masters: Masters | None = None
        self._connections: dict[str, RespConnection] = {}
        self._clocks: dict[str, LaneClock] = {}

    async def look(self, lanes: Sequence[LaneKeys], entries: Sequence[tuple[str, bytes]] = ()) -> Sighting | None:
        """Ask, in one go, who Redis is, for the leases of lanes, and for entries (stream and id) that should be there.

        None when it doesn't answer.
        """
        try:
            if self._masters is None:
                self._masters = await self._lookup.find()
        except LOST:
            return None
        questions: list[tuple[str, Command]] = [
            *((keys.leases, ("ZCOUNT", keys.leases, self._now_ms(keys.leases), "+inf")) for keys in lanes),
            *((stream, ("EVAL", _IS_THERE, 1, stream, entry_id)) for stream, entry_id in entries),
        ]
        asked = {server: list[int]() for server in self._masters.servers if server}
        for at, (key, _) in enumerate(questions):
            if server := self._masters.of(key):
                asked[server].append(at)
        for server in self._connections.keys() - asked.keys():  # a master no longer
            await self._connections.pop(server).close()
        found: list[int | None] = [None] * len(questions)
        run_ids: dict[str, str] = {}
        told_by = await asyncio.gather(*(self._ask(one, [questions[at][1] for at in asked[one]]) for one in asked))
        for server, (run_id, answers) in zip(asked, told_by, strict=True):
            if run_id:
                run_ids[server] = run_id
                for at, answer in zip(asked[server], answers, strict=True):
                    found[at] = answer
        counts, there = found[: len(lanes)], found[len(lanes) :]
        return Sighting(run_ids, counts, [one == 0 for one in there]) if run_ids else None

    def _now_ms(self, key: str) -> int:
        """The time that leases below a key are measured by: that of their server, as far as it has told."""
        server = self._masters.of(key) if self._masters is not None else ""
        return self._clocks.setdefault(server, LaneClock()).now_ms()

    async def _ask(self, server: str, commands: Sequence[Command]) -> tuple[str, list[Any]]:
        try:
            connection = self._connections.get(server)
            if connection is not None and connection.is_closed:
                await connection.close()
                connection = None
            if connection is None:
                connection = self._connections[server] = await self._lookup.open(server)
            info, *answers = await connection.execute(("INFO", "server"), *commands, within_s=ANSWER_S)
            self._clocks.setdefault(server, LaneClock()).hear(int(told(info, "server_time_usec")))
            return told(info, "run_id"), answers
        except LOST:
            self._masters = None
            if server in self._connections:
                await self._connections.pop(server).close()
            return "", []

    async def close(self) -> None:
        """Close all connections; the next look begins anew."""
        self._masters = None
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()
