"""What an agent does on the lanes of its model processes: end the leases of dead ones, see when their work is done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from services.common.lanes import LaneKeys
from services.common.redis_masters import LOST, RedisMasters

_log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_EMPTY_AGAIN_S = 0.1


async def end_lease(redis: RedisMasters, model: str, version: str, consumer: str) -> None:
    """End the lease of a consumer that is known to be dead. It would run out by itself: failure is no harm."""
    leases = LaneKeys(model, version).leases
    try:
        async with asyncio.timeout(_PATIENCE_S), await redis.open_for(leases) as connection:
            await connection.execute(("ZREM", leases, consumer), within_s=_PATIENCE_S)
    except LOST as error:
        _log.debug("the lease of %s is left to run out: %r", consumer, error)


async def until_empty(redis: RedisMasters, streams: Sequence[str]) -> None:
    """Return once no request waits or runs in these streams of one model; while Redis is away, nobody knows."""
    while True:
        with contextlib.suppress(*LOST):
            async with await redis.open_for(streams[0]) as connection:
                lengths = [("XLEN", one) for one in streams]
                while any(await connection.execute(*lengths, within_s=_PATIENCE_S)):  # noqa: ASYNC110 - only asking tells
                    await asyncio.sleep(_EMPTY_AGAIN_S)
                return
        await asyncio.sleep(_EMPTY_AGAIN_S)
