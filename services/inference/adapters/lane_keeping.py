"""What an agent does on the lanes of its model processes: end the leases of dead ones, see when their work is done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common.lanes import LaneKeys

_log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_EMPTY_AGAIN_S = 0.1


async def end_lease(redis: Redis, model: str, version: str, consumer: str) -> None:
    """End the lease of a consumer that is known to be dead. It would run out by itself: failure is no harm."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await redis.zrem(LaneKeys(model, version).leases, consumer)
    except (RedisError, OSError, TimeoutError) as error:
        _log.debug("the lease of %s is left to run out: %r", consumer, error)


async def until_empty(redis: Redis, streams: Sequence[str]) -> None:
    """Return once no request waits or runs in these streams; while Redis is away, nobody knows."""
    while True:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                if not any([await redis.xlen(stream) for stream in streams]):
                    return
        await asyncio.sleep(_EMPTY_AGAIN_S)
