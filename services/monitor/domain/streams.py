"""Evidence that a duration left its course, fed one value per second.

Requests are no independent trials: a batch is slow as a whole, and noise lasts longer than a batch. So a second (a
*slot*) gives one observation, the share of its batches that took longer than normal, and the evidence rests on that
alone (``evidence.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.monitor.domain.evidence import MULTIPLIERS, Floats, advance, contributions, log_evidence, upper_limits
from services.monitor.domain.findings import Alarm
from services.monitor.domain.phases import Phase, Signal

RECOVERY_SLOTS = 30
"""Seconds of traffic that must look normal before an alarm counts as over."""
HISTORY_SLOTS = 300
LOST_S = 300
"""An alarm ends when for so long there was traffic, but nothing like any that is known to compare it with."""
QUARANTINE = 30
"""Seconds after which one that led to no alarm was normal, and is learnt from."""
LEARN_AT = (30, 60, 120, 240, 480)
"""Numbers of such seconds at which limits are drawn closer; then they stay, so that a slow decline isn't learnt too."""
LEAST_LIMIT = 0.02
SUSPICION = math.log(10)
"""Evidence from which on seconds aren't learnt from."""
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


class Stream:
    """Evidence on one figure. After an alarm it starts afresh, and says next that the figure is back."""

    def __init__(self, limits: Floats, *, threshold: float) -> None:
        """``threshold`` in nats; ``limits`` are those of shares of which nothing is known."""
        levels = len(limits)
        self.limits = limits
        """Upper confidence limits of normal shares; a second is one trial, so noise of seconds adds up to nothing."""
        self._learnt = 0
        self._sums = np.zeros(levels)
        self.is_alarmed = False
        self.log_evalue = 0.0
        self.threshold = threshold
        self._log_m = np.zeros((levels, len(MULTIPLIERS)))
        self._began = np.zeros(self._log_m.shape, np.int64)
        self._history: deque[Slot] = deque(maxlen=HISTORY_SLOTS)
        self._seen_second = 0

    @property
    def is_suspicious(self) -> bool:
        return self.is_alarmed or self.log_evalue > SUSPICION

    @property
    def is_to_blame(self) -> bool:
        return not self.is_alarmed and self.log_evalue > BLAME

    def adopt_alarm(self) -> None:
        """Take over an alarm, of before a restart or of what follows from this."""
        self.is_alarmed = True

    def observe(self, slot: Slot) -> bool:
        """Take a second in; True if the stream went into alarm or came out of it."""
        self._history.append(slot)
        self._seen_second = slot.second
        if self.is_alarmed:
            return self._has_recovered()
        self._began[self._log_m <= 0.0] = slot.second
        self._log_m = advance(self._log_m, slot.shares, slot.limits)
        self.log_evalue = float(log_evidence(self._log_m))
        self.is_alarmed = self.log_evalue >= self.threshold
        if not self.is_alarmed and len(self._history) > QUARANTINE and self._learnt < LEARN_AT[-1]:
            self._learn(self._history[-QUARANTINE - 1].shares)
        return self.is_alarmed

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
        self._restart()
        return True

    def describe(self, signal: Signal, phase: Phase) -> Alarm:
        """The alarm just raised, without its traces; starts the evidence afresh, and the wait for recovery."""
        level, component = np.unravel_index(int(self._log_m.argmax()), self._log_m.shape)
        change = int(self._began[level, component])
        since = [slot for slot in self._history if slot.second >= change]
        now = np.array([slot.now for slot in since])
        # Of a median: half again as wide as that of a mean.
        after, spread = np.median(now, axis=0), 1.25 * 1.96 * now[:, 0].std() / math.sqrt(len(now))
        alarm = Alarm(
            signal,
            phase,
            log_evalue=self.log_evalue,
            change_second=change,
            level=int(level),
            before=np.mean([slot.normal for slot in since], axis=0),
            after=after,
            interval=(max(0.0, float(after[0] - spread)), float(after[0] + spread)),
        )
        self._restart()
        return alarm

    @property
    def contributions(self) -> Floats:
        """Logarithm of what each level adds to the e-value."""
        return contributions(self._log_m)

    def since(self, second: int) -> list[Slot]:
        """Seconds from one on, as far back as they are kept."""
        return [slot for slot in self._history if slot.second >= second]

    def dump(self) -> dict[str, Any]:
        """The running evidence, as plain JSON values."""
        return {
            "log_m": self._log_m.ravel().tolist(),
            "began": self._began.ravel().tolist(),
            "alarmed": self.is_alarmed,
            "learnt": [self._learnt, self._sums.tolist(), self.limits.tolist()],
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`; evidence on other levels is left out."""
        log_m, began = np.array(data["log_m"], np.float64), np.array(data["began"], np.int64)
        if log_m.size == began.size == self._log_m.size:
            self._log_m, self._began = log_m.reshape(self._log_m.shape), began.reshape(self._log_m.shape)
            self.log_evalue = float(log_evidence(self._log_m))
        self.is_alarmed = bool(data["alarmed"])
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
            self._restart()
        return not self.is_alarmed

    def _restart(self) -> None:
        self._log_m[:] = 0.0
        self.log_evalue = 0.0
        self._history.clear()
