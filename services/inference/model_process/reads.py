"""The commands with which a consumer reads its lane."""

from __future__ import annotations

from services.common.lane_clock import LaneClock
from services.common.lanes import GROUP, LaneKeys
from services.common.resp import Command

# An equal share of what waits, between this consumer and those that wait for something to do. What is in a stream and
# not pending waits: entries are deleted when they are acknowledged.
_READ_SHARE = """
local stream, idle, group, me, count = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('ZREM', idle, me)
local waiting = redis.call('XLEN', stream) - redis.call('XPENDING', stream, group)[1]
local others = math.min(redis.call('ZCOUNT', idle, redis.call('TIME')[1] * 1000, '+inf'), ARGV[4] - 1)
local share = math.min(count, math.ceil(waiting / (others + 1)))
if share < 1 then
  return false
end
return redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', share, 'STREAMS', stream, '>')
"""


class Reads:
    """Reads of one consumer; ``live`` is how many consumers there are, this one included."""

    def __init__(self, keys: LaneKeys, streams: list[str], consumer: str, *, clock: LaneClock) -> None:
        self._clock = clock
        self._keys = keys
        self._streams = streams
        self._consumer = consumer

    def waiting(self, count: int, *, block_ms: int, live: int) -> list[Command]:
        """Wait for the first entry, and take what comes with it: so a batch costs one round trip.

        Only the first where there are several streams, of which the most urgent is to be read next.
        """
        commands = [self._blocking(block_ms)]
        if live > 1:
            until_ms = self._clock.now_ms() + block_ms
            commands.insert(0, ("ZADD", self._keys.idle, until_ms, self._consumer))
        if count > 1 and len(self._streams) == 1:
            commands.append(self.sharing(count - 1, self._streams[0], live=live))
        return commands

    def sharing(self, count: int, stream: str, *, live: int) -> Command:
        """Read up to ``count`` new entries, but no more than a fair share where others have nothing to do."""
        if live <= 1:
            return ("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", count, "STREAMS", stream, ">")
        keys = (stream, self._keys.idle)
        return ("EVAL", _READ_SHARE, len(keys), *keys, GROUP, self._consumer, count, live)

    def _blocking(self, block_ms: int) -> Command:
        streams, news = self._streams, [">"] * len(self._streams)
        return ("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", 1, "BLOCK", block_ms, "STREAMS", *streams, *news)
