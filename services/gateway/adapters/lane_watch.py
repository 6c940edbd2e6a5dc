"""Sees which lanes are served, and whether Redis is there and still the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from services.common.lanes import LaneKeys
from services.common.resp import RespConnection, run_id_of

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """What Redis said: who it is, and the live consumers of each lane asked about, in that order."""

    run_id: str
    live_consumers: list[int]


class LaneWatch:
    """Asks Redis over a connection of its own, opened when needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: RespConnection | None = None

    async def look(self, lanes: Sequence[LaneKeys]) -> Sighting | None:
        """Ask, in one go, who Redis is and for the leases of lanes; None when it doesn't answer."""
        now_ms = int(time.time() * 1_000)
        try:
            if self._connection is None or self._connection.is_closed:
                await self.close()
                self._connection = await RespConnection.open(self._url, within_s=_TIMEOUT_S)
            info, *counts = await self._connection.execute(
                ("INFO", "server"),
                *(("ZCOUNT", keys.leases, now_ms, "+inf") for keys in lanes),
                within_s=_TIMEOUT_S,
            )
            return Sighting(run_id_of(info), counts)
        except (RedisError, OSError, TimeoutError):
            await self.close()
            return None

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
