"""Redis' time: the one clock of all who share a lane, since those of their hosts may differ, and step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from services.common.lanes import Entry

_CLOSE_NS = 100_000_000
"""What answers take on their way; a difference below this is none."""
_APART_NS = 1_000_000_000
"""Clocks that are kept by NTP differ by less."""


class LaneClock:
    """Tells the time that Redis has, from a monotonic clock and what Redis last said. Before that, this host's.

    It goes on evenly while the host's clock steps, and steps itself only when Redis' time turns out to be another one.
    May be read by any thread.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._ahead_ns = wall_ns() - monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds of Unix time."""
        return self._monotonic_ns() + self._ahead_ns

    def now_ms(self) -> int:
        """Milliseconds of Unix time, as leases have them."""
        return self.now_ns() // 1_000_000

    def hear(self, time_us: int) -> None:
        """Take what Redis just answered, in microseconds of Unix time."""
        difference_ns = time_us * 1_000 - self.now_ns()
        if abs(difference_ns) > _CLOSE_NS:
            self._ahead_ns += difference_ns

    def correct(self, entry: Entry, entry_id: bytes, *, now_ns: int) -> Entry:
        """The entry with its instants as this clock has them, where its gateway's clock can't be this one.

        ``now_ns`` is when it was read, by this clock; one look at it does for a whole batch. The entry's id says when
        Redis took it; what has none was given directly, just now. No gateway enqueues what is still to come, or what is
        over: then all that holds is the time between the two. One whose clock is behind by less than that passes for
        one that had to wait for Redis.
        """
        if entry.enqueue_ns - _APART_NS <= now_ns <= entry.deadline_ns:
            return entry
        taken_ns = int(entry_id.partition(b"-")[0]) * 1_000_000 if entry_id else now_ns
        if entry.enqueue_ns - _APART_NS <= taken_ns <= entry.deadline_ns:
            return entry
        lifetime_ns = entry.deadline_ns - entry.enqueue_ns
        return replace(entry, enqueue_ns=taken_ns, deadline_ns=taken_ns + lifetime_ns)
