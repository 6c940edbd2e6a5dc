"""Evidence that a duration left its course, fed one value per second.

Requests are no independent trials: a batch is slow as a whole, and noise lasts longer than a batch. So a second (a
*slot*) gives one observation, the share of its batches that took longer than normal, and the evidence rests on that
alone (``evidence.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.evidence import (
    MULTIPLIERS,
    QUARANTINE,
    RECOVERY_SLOTS,
    Evidence,
    Floats,
    gains,
    upper_limits,
)
from services.monitor.domain.findings import Alarm
from services.monitor.domain.phases import Phase, Signal
from services.monitor.domain.reference import LEVELS, Normal

HISTORY_SLOTS = 300
LOST_S = 300
"""An alarm ends when for so long there was traffic, but nothing like any that is known to compare it with."""
LEARN_AT = (30, 60, 120, 240, 480)
"""Numbers of seconds at which limits are drawn closer; then they stay, so that a slow decline isn't learnt too."""
LEAST_LIMIT = 0.02
BLAME = math.log(100)
"""Evidence from which on a figure is blamed for the alarm of one that follows from it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One stream's second. All arrays by level: the share, its limit under normal conditions, and the figures
    behind it: now, and normal under the same conditions (error share, or nanoseconds).
    """

    second: int
    shares: Floats
    limits: Floats
    now: Floats
    normal: Floats

    @classmethod
    def of(cls, second: int, parts: Sequence[tuple[sketch.Counts, Normal]], limits: Floats) -> Self:
        """Durations of one phase in each context that they were seen in, at least one, and what is normal there.

        Contexts weigh as much as they have durations. ``limits`` are those of the stream.
        """
        weights = np.array([row.sum() for row, _ in parts], np.float64)
        mean = weights / weights.sum()
        shares = [sketch.shares_above(row, normal.edges) for row, normal in parts]
        now = [sketch.quantiles(row, LEVELS) for row, _ in parts]
        return cls(
            second,
            shares=mean @ np.array(shares),
            limits=np.minimum(limits, mean @ np.array([normal.limits for _, normal in parts])),
            now=mean @ np.array(now),
            normal=mean @ np.array([normal.quantiles_ns for _, normal in parts]),
        )


class Stream(Evidence):
    """Evidence on one figure. After an alarm it starts afresh, and says next that the figure is back."""

    def __init__(self, limits: Floats, *, threshold: float) -> None:
        """``threshold`` in nats; ``limits`` are those of shares of which nothing is known."""
        super().__init__(len(limits), len(MULTIPLIERS), threshold=threshold)
        self.limits = limits
        """Upper confidence limits of normal shares; a second is one trial, so noise of seconds adds up to nothing."""
        self._learnt = 0
        self._sums = np.zeros(len(limits))
        self._history: deque[Slot] = deque(maxlen=HISTORY_SLOTS)
        self._seen_second = 0

    @property
    def is_to_blame(self) -> bool:
        return not self.is_alarmed and self.log_evalue > BLAME and len(self._history) > 0

    def observe(self, slot: Slot) -> bool:
        """Take a second in; True if the stream went into alarm or came out of it."""
        self._history.append(slot)
        self._seen_second = slot.second
        if self.is_alarmed:
            return self._has_recovered()
        is_alarmed = self._bet(gains(slot.shares, slot.limits), slot.second)
        if not self.is_suspicious and len(self._history) > QUARANTINE and self._learnt < LEARN_AT[-1]:
            self._learn(self._history[-QUARANTINE - 1].shares)
        return is_alarmed

    def _learn(self, shares: Floats) -> None:
        self._learnt += 1
        self._sums = self._sums + shares
        if self._learnt in LEARN_AT:
            self._draw_closer()

    def _draw_closer(self) -> None:
        found = upper_limits(np.minimum(self._sums / self._learnt, 1.0), np.full(len(self._sums), float(self._learnt)))
        self.limits = np.minimum(self.limits, np.maximum(found, LEAST_LIMIT))

    def loses_sight(self, second: int) -> bool:
        """End an alarm whose figure has not been comparable for ``LOST_S``; True if that happened.

        Nothing is learnt during an alarm, so without this it would last for ever in traffic of a new kind.
        """
        if not self.is_alarmed:
            return False
        self._seen_second = self._seen_second or second
        if second - self._seen_second < LOST_S:
            return False
        self.is_alarmed = False
        self.restart()
        return True

    def describe(self, signal: Signal, phase: Phase) -> Alarm:
        """The alarm just raised, without its traces; starts the evidence afresh, and the wait for recovery.

        At least one second was observed since the last start.
        """
        # Evidence may be older than a restart of the monitor; seconds are not.
        change = min(self.change_second, self._history[-1].second)
        since = self.since(change)
        now = np.array([slot.now for slot in since])
        # Of a median: half again as wide as that of a mean.
        after, spread = np.median(now, axis=0), 1.25 * 1.96 * now[:, 0].std() / math.sqrt(len(now))
        alarm = Alarm(
            signal,
            phase,
            log_evalue=self.log_evalue,
            change_second=change,
            level=self.strongest,
            before=np.mean([slot.normal for slot in since], axis=0),
            after=after,
            interval=(max(0.0, float(after[0] - spread)), float(after[0] + spread)),
        )
        self.restart()
        return alarm

    def since(self, second: int) -> list[Slot]:
        """Seconds from one on, as far back as they are kept."""
        return [slot for slot in self._history if slot.second >= second]

    def restart(self) -> None:
        """Start the evidence afresh, as after an alarm that was told, and forget its seconds."""
        super().restart()
        self._history.clear()
        self._seen_second = 0

    def dump(self) -> dict[str, Any]:
        """The running evidence, and limits as learnt, as plain JSON values."""
        return {**super().dump(), "learnt": [self._learnt, self._sums.tolist(), self.limits.tolist()]}

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`; what is of other levels is left out."""
        super().load(data)
        learnt, sums, limits = data["learnt"]
        if len(sums) == len(limits) == len(self._sums):
            self._learnt, self._sums, self.limits = int(learnt), np.array(sums), np.array(limits)

    def _has_recovered(self) -> bool:
        recent = list(self._history)[-RECOVERY_SLOTS:]
        if len(recent) < RECOVERY_SLOTS:
            return False
        shares = np.mean([slot.shares for slot in recent], axis=0)
        self.is_alarmed = bool((shares > np.mean([slot.limits for slot in recent], axis=0)).any())
        if not self.is_alarmed:
            self.restart()
        return not self.is_alarmed
