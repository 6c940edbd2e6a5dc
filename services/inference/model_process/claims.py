"""Takes over what dead consumers left behind, one entry at a time, so that only a poison message can kill again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from services.common.lanes import GROUP

MIN_IDLE_MS = 250

# DELCONSUMER drops what is still pending: look and delete in one step. A live consumer would simply be made again.
_FORGET_IF_EMPTY = """
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  if consumer[2] == ARGV[2] and consumer[4] == 0 then
    return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  end
end
return -1
"""


async def forget(redis: Any, stream: str, consumer: str) -> None:
    """Remove a consumer from the group, unless entries are pending for it."""
    await redis.eval(_FORGET_IF_EMPTY, 1, stream, GROUP, consumer)


async def claim_one(
    redis: Any, consumers: Mapping[str, list[dict[bytes, Any]]], *, live: Collection[str], me: str
) -> tuple[str, bytes, dict[bytes, bytes], int] | None:
    """Claim one entry of a dead consumer (one that holds no lease) for ``me``; forget dead consumers without any.

    ``consumers`` is what XINFO CONSUMERS answers, by stream. Returns stream, entry id, fields and the number of
    deliveries, this one included; None when there is nothing to claim.
    """
    for stream, group in consumers.items():
        for consumer in group:
            name = consumer[b"name"].decode()
            if name == me or name in live:
                continue
            if not consumer[b"pending"]:
                await forget(redis, stream, name)
                continue
            claimed = await _claim_from(redis, stream, name, me)
            if claimed is not None:
                return claimed
    return None


async def _claim_from(redis: Any, stream: str, name: str, me: str) -> tuple[str, bytes, dict[bytes, bytes], int] | None:
    while pending := await redis.xpending_range(stream, GROUP, "-", "+", 1, consumername=name, idle=MIN_IDLE_MS):
        entry_id, count = pending[0]["message_id"], pending[0]["times_delivered"]
        for claimed_id, fields in await redis.xclaim(stream, GROUP, me, MIN_IDLE_MS, [entry_id]):
            if claimed_id is not None:
                return stream, entry_id, fields, count + 1
            await redis.xack(stream, GROUP, entry_id)  # it was deleted meanwhile
    return None
