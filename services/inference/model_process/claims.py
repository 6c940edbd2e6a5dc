"""Takes over what dead consumers left behind, one entry at a time, so that only a poison message can kill it again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Container, Mapping
from typing import Any, NamedTuple

from services.common.lanes import GROUP
from services.common.resp import Command, RespConnection

MIN_IDLE_MS = 250

_ANSWER_S = 5.0
_MOST_OWN = 10_000

# DELCONSUMER drops what is still pending: look and delete in one step. A live consumer would simply be made again.
_FORGET_IF_EMPTY = """
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  if consumer[2] == ARGV[2] and consumer[4] == 0 then
    return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  end
end
return -1
"""


class Claimed(NamedTuple):
    """An entry, and how often it was delivered, this time included."""

    stream: str
    entry_id: bytes
    fields: dict[bytes, bytes]
    deliveries: int


async def forget(redis: RespConnection, stream: str, consumer: str) -> None:
    """Remove a consumer from the group, unless entries are pending for it."""
    await redis.execute(("EVAL", _FORGET_IF_EMPTY, 1, stream, GROUP, consumer), within_s=_ANSWER_S)


async def claim_one(
    redis: RespConnection, consumers: Mapping[str, list[dict[bytes, Any]]], *, live: Collection[str], me: str
) -> Claimed | None:
    """Claim one entry of a dead consumer (one that holds no lease) for ``me``; forget dead consumers without any.

    ``consumers`` is what XINFO CONSUMERS answers, by stream. None when there is nothing to claim.
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


async def find_own(
    redis: RespConnection, stream: str, me: str, *, known: Container[tuple[str, bytes]]
) -> AsyncIterator[Claimed]:
    """What Redis has delivered to ``me`` and is not ``known`` here; that is no further delivery."""
    (pending,) = await redis.execute(("XPENDING", stream, GROUP, "-", "+", _MOST_OWN, me), within_s=_ANSWER_S)
    for entry_id, _, _, count in pending:
        if (stream, entry_id) not in known:
            fields = await _claim(redis, stream, entry_id, (me, 0, entry_id, "RETRYCOUNT", count))
            if fields is not None and (stream, entry_id) not in known:
                yield Claimed(stream, entry_id, fields, count)


async def _claim_from(redis: RespConnection, stream: str, name: str, me: str) -> Claimed | None:
    look: Command = ("XPENDING", stream, GROUP, "IDLE", MIN_IDLE_MS, "-", "+", 1, name)
    while (pending := (await redis.execute(look, within_s=_ANSWER_S))[0]) != []:
        ((entry_id, _, _, count),) = pending
        fields = await _claim(redis, stream, entry_id, (me, MIN_IDLE_MS, entry_id))
        if fields is not None:
            return Claimed(stream, entry_id, fields, count + 1)
    return None


async def _claim(redis: RespConnection, stream: str, entry_id: bytes, how: Command) -> dict[bytes, bytes] | None:
    """The fields of an entry that is ours now; one that was deleted meanwhile is acknowledged."""
    (claimed,) = await redis.execute(("XCLAIM", stream, GROUP, *how), within_s=_ANSWER_S)
    for found in claimed:
        if found is not None:
            fields = found[1]
            return dict(zip(fields[::2], fields[1::2], strict=True))
        await redis.execute(("XACK", stream, GROUP, entry_id), within_s=_ANSWER_S)
    return None
