"""Sees which lanes are served, and whether Redis is there and still the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common.lanes import LaneKeys

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """What Redis said: who it is, and the live consumers of each lane asked about, in that order."""

    run_id: str
    live_consumers: list[int]


async def look(redis: Redis, lanes: Sequence[LaneKeys]) -> Sighting | None:
    """Ask Redis, in one pipeline, for its run_id and the leases of lanes; None when it doesn't answer."""
    now_ms = int(time.time() * 1_000)
    try:
        async with asyncio.timeout(_TIMEOUT_S), redis.pipeline(transaction=False) as pipeline:
            pipeline.info("server")
            for keys in lanes:
                pipeline.zcount(keys.leases, now_ms, "+inf")
            info, *counts = await pipeline.execute()
    except (RedisError, OSError, TimeoutError):
        return None
    return Sighting(info["run_id"], counts)
