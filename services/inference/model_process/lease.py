"""A consumer's lease on its lane, renewed by a timer: nearly all that an idle process of a fleet has to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.exceptions import ResponseError

from services.common.lanes import GROUP, IDLE_LEASE_RENEWAL_MS, LEASE_MS, LEASE_RENEWAL_MS, LaneKeys
from services.common.resp import Command, RespConnection

_ANSWER_S = 5.0
_WATCHED_S = 60.0
"""How often a connection's own watch may look after a renewal: the timer here looks at each turn."""
_FORGOTTEN_MS = 30 * LEASE_MS

Consumers = dict[str, list[dict[bytes, Any]]]
"""What XINFO CONSUMERS answers, by stream."""


class Lease:
    """Renews a lease, and has a glance at the other consumers each time.

    The glance is all, as long as everybody who reads the lane holds a lease: ``on_news`` is called when one doesn't, or
    when Redis did not answer as it should. ``is_busy`` says whether the consumer has something in hand, or had since
    it was asked before. ``live_consumers`` are the holders of a lease as last seen, ``last_contact`` is when Redis last
    answered (``time.monotonic``).
    """

    def __init__(
        self,
        keys: LaneKeys,
        streams: Sequence[str],
        consumer: str,
        *,
        is_busy: Callable[[], bool],
        on_news: Callable[[], None],
    ) -> None:
        self._key = keys.leases
        self._streams = streams
        self._consumer = consumer
        self._is_busy = is_busy
        self._on_news = on_news
        self._looks: list[Command] = [("XINFO", "CONSUMERS", stream, GROUP) for stream in streams]
        self._packed_looks = b"".join(map(hiredis.pack_command, self._looks))
        self._timer: asyncio.TimerHandle | None = None
        self._connection: RespConnection | None = None
        self._asked_at: float | None = None
        self._has_pending = True
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
        now_ms = time.time_ns() // 1_000_000
        _, _, live, *consumers = await connection.execute(
            ("ZREMRANGEBYSCORE", self._key, "-inf", now_ms - _FORGOTTEN_MS),
            *self._renewal(now_ms),
            *self._looks,
            within_s=_ANSWER_S,
            raise_on_error=False,
        )
        if isinstance(live, Exception):
            raise live
        self._note(live)
        return {
            stream: [dict(zip(one[::2], one[1::2], strict=True)) for one in group]
            for stream, group in zip(self._streams, consumers, strict=True)
            if not isinstance(group, Exception)
        }

    def _renewal(self, now_ms: int) -> tuple[Command, Command]:
        return (
            ("ZADD", self._key, now_ms + LEASE_MS, self._consumer),
            ("ZRANGEBYSCORE", self._key, now_ms, "+inf"),
        )

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
            packed = b"".join(map(hiredis.pack_command, self._renewal(time.time_ns() // 1_000_000)))
            count = 2 + len(self._looks)
            connection.send(packed + self._packed_looks, count, self._glance, within_s=_WATCHED_S)
        elif now - self._asked_at > _ANSWER_S:
            connection.abort()

    def _glance(self, answers: list[Any], error: Exception | None) -> None:
        self._asked_at = None
        if error is None and not any(isinstance(one, ResponseError) for one in answers):
            _, live, *groups = answers
            self._note(live)
            self._has_pending = any(pending for group in groups for _, _, _, pending, *_ in group)
            if all(name in live for group in groups for _, name, *_ in group):
                return
        self._has_pending = True
        if self._timer is not None:
            self._timer.cancel()
            self.start()  # soon, to look at what comes of it
        self._on_news()
