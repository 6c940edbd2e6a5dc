"""A consumer's lease on its lane, renewed by a timer: nearly all that an idle process of a fleet has to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.exceptions import ResponseError

from services.common.lane_clock import LaneClock
from services.common.lanes import GROUP, IDLE_LEASE_RENEWAL_MS, LEASE_MS, LEASE_RENEWAL_MS, LaneKeys
from services.common.resp import ANSWER_S, Command, RespConnection, is_memory_full

_WATCHED_S = 60.0
"""How often a connection's own watch may look after a renewal: the timer here looks at each turn."""
_FORGOTTEN_MS = 30 * LEASE_MS

# What was a write from its beginning may go on when Redis' memory is full. A ZADD alone is refused then.
_RENEW = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
"""

Consumers = dict[str, list[dict[bytes, Any]]]
"""What XINFO CONSUMERS answers, by stream."""


class Lease:
    """Renews a lease, and has a glance at the other consumers each time.

    The glance is all, as long as everybody who reads the lane holds a lease: ``on_news`` is called when one doesn't, or
    when Redis did not answer as it should. ``on_look`` hears how many entries the consumer has and how many nobody has.
    ``clock`` hears Redis' time each time.
    ``is_busy`` says whether the consumer has something in hand, or had since it was asked before. ``live_consumers``
    are the holders of a lease as last seen, ``last_contact`` is when Redis last answered
    (``time.monotonic``).
    """

    def __init__(
        self,
        keys: LaneKeys,
        streams: Sequence[str],
        consumer: str,
        *,
        is_busy: Callable[[], bool],
        on_news: Callable[[], None],
        on_look: Callable[[int, int], None],
        clock: LaneClock,
    ) -> None:
        self._clock = clock
        self._key = keys.leases
        self._streams = streams
        self._consumer = consumer
        self._name = consumer.encode()
        self._is_busy = is_busy
        self._on_news = on_news
        self._on_look = on_look
        self._looks: list[Command] = [
            *(("XINFO", "CONSUMERS", stream, GROUP) for stream in streams),
            *(("XLEN", stream) for stream in streams),
            ("TIME",),
        ]
        self._packed_looks = b"".join(map(hiredis.pack_command, self._looks))
        self._timer: asyncio.TimerHandle | None = None
        self._connection: RespConnection | None = None
        self._asked_at: float | None = None
        self._has_pending = True
        self._is_memory_full = False
        self._live: list[bytes] = []
        self.live_consumers: frozenset[str] = frozenset()
        self.last_contact = time.monotonic()

    async def renew(self, connection: RespConnection) -> Consumers:
        """Renew it, forget leases that ended long ago, and look at everybody; later renewals go the same way.

        Streams whose group is gone, or that are gone themselves, are left out.

        Raises:
            RedisError: it may or may not be renewed.
        """
        self._connection = connection
        now_ms = self._clock.now_ms()
        renewed, live, *looks = await connection.execute(
            self.renewal(now_ms), self._reading(now_ms), *self._looks, within_s=ANSWER_S, raise_on_error=False
        )
        if isinstance(renewed, Exception):
            raise renewed
        if isinstance(live, Exception):
            raise live
        self._hear(looks[-1])
        self._note(live)
        return {
            stream: [dict(zip(one[::2], one[1::2], strict=True)) for one in group]
            for stream, group in zip(self._streams, looks, strict=False)
            if not isinstance(group, Exception)
        }

    def renewal(self, now_ms: int) -> Command:
        """The command that renews it in any case, and forgets leases that ended long ago."""
        return ("EVAL", _RENEW, 1, self._key, now_ms - _FORGOTTEN_MS, now_ms + LEASE_MS, self._consumer)

    def _reading(self, now_ms: int) -> Command:
        return ("ZRANGEBYSCORE", self._key, now_ms, "+inf")

    def _hear(self, told: list[bytes]) -> None:
        seconds, microseconds = map(int, told)
        self._clock.hear(seconds * 1_000_000 + microseconds)

    def _note(self, live: list[bytes]) -> None:
        self.last_contact = time.monotonic()
        if live != self._live:
            self._live = live
            self.live_consumers = frozenset(name.decode() for name in live)

    def start(self) -> None:
        """Renew it from now on, by a timer, until :meth:`stop`."""
        period_ms = LEASE_RENEWAL_MS if self._has_pending or self._is_busy() else IDLE_LEASE_RENEWAL_MS
        self._timer = asyncio.get_running_loop().call_later(period_ms / 1000, self._turn)

    def doubt(self) -> None:
        """Let the next turn be news."""
        self._connection = None

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self.start()
        now, connection = asyncio.get_running_loop().time(), self._connection
        if connection is None or connection.is_closed:
            self._on_news()
        elif self._asked_at is None:
            self._asked_at = now
            now_ms = self._clock.now_ms()
            renewal: Command = ("ZADD", self._key, now_ms + LEASE_MS, self._consumer)
            if self._is_memory_full:
                renewal = self.renewal(now_ms)
            packed = hiredis.pack_command(renewal) + hiredis.pack_command(self._reading(now_ms)) + self._packed_looks
            connection.send(packed, 2 + len(self._looks), self._glance, within_s=_WATCHED_S)
        elif now - self._asked_at >= ANSWER_S:
            connection.abort()

    def _glance(self, answers: list[Any], error: Exception | None) -> None:
        self._asked_at = None
        if error is None and not any(isinstance(one, ResponseError) for one in answers):
            _, live, *looks, told = answers
            self._hear(told)
            groups, lengths = looks[: len(self._streams)], looks[len(self._streams) :]
            self._note(live)
            consumers = [(name, pending) for group in groups for _, name, _, pending, *_ in group]
            pending = sum([count for _, count in consumers])
            self._has_pending = pending > 0
            self._on_look(sum([count for name, count in consumers if name == self._name]), sum(lengths) - pending)
            if all(name in live for name, _ in consumers):
                return
        else:
            self._is_memory_full = bool(answers) and is_memory_full(answers[0])
        self._has_pending = True
        if self._timer is not None:
            self._timer.cancel()
            self.start()  # soon, to look at what comes of it
        self._on_news()
