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


# Whoever comes next makes the group anew, from the stream's beginning.
_LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('ZCOUNT', KEYS[1], redis.call('TIME')[1] * 1000, '+inf') > 0 then
  return
end
for at = 3, #KEYS do
  if redis.call('XLEN', KEYS[at]) > 0 then
    return
  end
end
redis.call('DEL', unpack(KEYS))
"""


async def end_lease(redis: RedisMasters, lane: LaneKeys, streams: Sequence[str], consumer: str) -> None:
    """End the lease of a consumer that is known to be dead, and that it waits for requests.

    The last one takes along a lane in which nothing is left. The lease would run out by itself, and empty streams take
    little: failure is no harm.
    """
    keys = (lane.leases, lane.idle, *streams)
    try:
        async with asyncio.timeout(_PATIENCE_S), await redis.open_for(lane.leases) as connection:
            await connection.execute(("EVAL", _LEAVE, len(keys), *keys, consumer), within_s=_PATIENCE_S)
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
