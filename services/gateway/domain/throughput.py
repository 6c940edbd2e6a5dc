"""How fast a lane is worked off, learnt from its answers."""

from __future__ import annotations

import math
from collections.abc import Collection

from services.gateway.domain.tiers import Tier

_MEMORY_S = 2.0
"""What is older counts for less than a third; of slow batches, the last eight or so count."""
_STALL_S = 0.5
_LEAST_S, _LEAST_BATCHES = 0.25, 4
"""Less than this is no evidence."""
_FRESH_S = 30.0
_BEST_MEMORY_S = 600.0
_LEAST_PART = 0.05
"""Of what is answered, taken to be left for the least urgent, whatever the more urgent took lately."""


class Throughput:
    """Rows a second that a lane's processes answer to this gateway while they have more than enough to do.

    Only time between two batches counts throughout which enough waited: a lane with little to do says nothing about how
    much it could. Nor does a pause that is out of proportion (a process was killed, Redis was away): what was known
    before it stays. Times are seconds of any one monotonic clock.
    """

    __slots__ = ("_batches", "_fresh_until", "_gap_s", "_last", "_seconds", "batch_s", "best", "is_watching")

    def __init__(self) -> None:
        self.batch_s = 0.0
        """How long a batch takes."""
        self.best = 0.0
        """The most rows a second of the last ten minutes or so: who gets less to do is slower for that alone."""
        self.is_watching = False
        """Whether enough waited when the last batch was answered."""
        self._last = 0.0
        self._gap_s = 0.0
        self._seconds = 0.0
        self._batches = 0.0
        self._fresh_until = -math.inf

    def is_fresh(self, now: float) -> bool:
        """Whether the tiers' rates may be relied on."""
        return now <= self._fresh_until

    def note_batch(self, tiers: Collection[Tier], *, took_s: float, was_busy: bool, is_busy: bool, now: float) -> None:
        """Learn that a batch was answered, as the tiers have counted; whether enough waited before that and after."""
        self.batch_s += (took_s - self.batch_s) / 8 if self.batch_s else took_s
        gap_s = now - self._last
        if self.is_watching and was_busy and gap_s <= max(_STALL_S, 8 * self._gap_s, 4 * took_s):
            self._gap_s += (gap_s - self._gap_s) / 8 if self._gap_s else gap_s
            kept = math.exp(-gap_s / max(_MEMORY_S, 8 * self._gap_s))
            self._seconds = self._seconds * kept + gap_s
            self._batches = self._batches * kept + 1
            for tier in tiers:
                tier.recent = tier.recent * kept + tier.answered
            if self._seconds >= _LEAST_S and self._batches >= _LEAST_BATCHES:
                self.best *= math.exp(-gap_s / _BEST_MEMORY_S)
                self._set_rates(tiers)
                self._fresh_until = now + max(_FRESH_S, 8 * self._gap_s)
        for tier in tiers:
            tier.answered = 0
        self._last, self.is_watching = now, is_busy

    def _set_rates(self, tiers: Collection[Tier]) -> None:
        """What the more urgent get of the processes' time comes in as fast as it goes out, as far as anybody knows."""
        total = left = sum(tier.recent for tier in tiers)
        self.best = max(self.best, total / self._seconds)
        for tier in sorted(tiers, key=lambda tier: tier.priority):
            tier.rate = max(left, total * _LEAST_PART) / self._seconds
            left -= tier.recent
