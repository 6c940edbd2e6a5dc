"""Ends leases on behalf of processes that died, so that others need not wait for them to run out."""

from __future__ import annotations

import asyncio
import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common.lanes import LaneKeys

_log = logging.getLogger(__name__)

_PATIENCE_S = 1.0


async def end_lease(redis: Redis, model: str, version: str, consumer: str) -> None:
    """End the lease of a consumer that is known to be dead. It would run out by itself: failure is no harm."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await redis.zrem(LaneKeys(model, version).leases, consumer)
    except (RedisError, OSError, TimeoutError) as error:
        _log.debug("the lease of %s is left to run out: %r", consumer, error)
