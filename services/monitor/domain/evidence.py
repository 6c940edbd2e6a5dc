"""Evidence that a share has risen, as an e-detector with a stated average run length (ARL).

An observation ``f`` in [0, 1] whose mean, given the past, is at most ``limit`` as long as nothing has changed, is bet
against with ``L = 1 + (p1 - limit) (f - limit) / (limit (1 - limit))``: for ``f`` in {0, 1} the likelihood ratio of the
rate ``p1`` to ``limit``, for a share in between linear in it, so its mean is at most 1 whatever the dependence of what
the share was counted over. ``M = max(M, 1) L`` (e-CUSUM) over a few ``p1 = multiplier x limit``, averaged, raises a
false alarm at threshold A once in at least A observations on average (Shin, Ramdas, Rinaldo: E-detectors, 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MULTIPLIERS: Floats = np.array([1.5, 3.0, 10.0, 40.0])
"""Rises that are bet on: a slow burn, a burst, an outage; 40 lets a failure of everything be seen within seconds."""
SUSPICION = math.log(10)
"""Evidence from which on seconds aren't learnt from, nats."""
QUARANTINE = 30
"""Seconds of traffic after which one that led to no suspicion was normal, and is learnt from."""
RECOVERY_SLOTS = 30
"""Seconds of traffic that must look normal before an alarm counts as over."""

_RATE_CAP = 0.95
SECONDS_PER_WEEK = 604_800


def average_run_length(*, false_alarms_per_week: float, assumed_series: int) -> float:
    """Observations per false alarm of one detector that keep the whole fleet's budget.

    A detector gets at most one observation a second, so a week has at most 604,800 for each series.
    """
    return max(1.0, SECONDS_PER_WEEK * assumed_series / false_alarms_per_week)


@dataclass(slots=True)
class Budget:
    """One budget of false alarms for all detectors of a fleet, shared out evenly among them.

    ``series`` is how many are assumed at least, so that thresholds don't move while a fleet is small.
    """

    false_alarms_per_week: float
    series: int
    live: int = 0
    """Detectors that there are."""

    @property
    def run_length(self) -> float:
        """Observations per false alarm of one detector."""
        return average_run_length(
            false_alarms_per_week=self.false_alarms_per_week, assumed_series=max(self.series, self.live)
        )

    @property
    def threshold(self) -> float:
        """Evidence that is an alarm, nats."""
        return math.log(self.run_length)


class Evidence:
    """Bets that some of several figures have risen, each by several factors, and whether they add up to an alarm."""

    def __init__(self, figures: int, factors: int, *, threshold: float, weights: Floats | None = None) -> None:
        """``threshold`` in nats; ``weights`` are those of the figures in the average, all alike by default."""
        even = np.ones(figures) if weights is None else weights
        self._log_weights = np.log(even / even.sum() / factors)[:, None]
        self._log_m: Floats = np.zeros((figures, factors))
        self._began: NDArray[np.int64] = np.zeros((figures, factors), np.int64)
        self.threshold = threshold
        self.is_alarmed = False
        self.log_evalue = 0.0

    @property
    def is_suspicious(self) -> bool:
        return self.is_alarmed or self.log_evalue > SUSPICION

    def adopt_alarm(self) -> None:
        """Take over an alarm, of before a restart or of what follows from this."""
        self.is_alarmed = True

    def _bet(self, gained: Floats, second: int) -> bool:
        """Take in what each bet won in a second, [figures, factors], nats; True if that is an alarm.

        A bet that had lost all begins again.
        """
        self._began[self._log_m <= 0.0] = second
        self._log_m = np.maximum(self._log_m, 0.0) + gained
        self.log_evalue = float(np.logaddexp.reduce(self.contributions))
        self.is_alarmed = self.log_evalue >= self.threshold
        return self.is_alarmed

    @property
    def contributions(self) -> Floats:
        """Logarithm of what each figure adds to the evidence."""
        return np.asarray(np.logaddexp.reduce(self._log_m + self._log_weights, axis=1))

    @property
    def change_second(self) -> int:
        """When the strongest bet began to win."""
        at = np.unravel_index(int(self._log_m.argmax()), self._log_m.shape)
        return int(self._began[at])

    @property
    def strongest(self) -> int:
        """The figure with the most evidence."""
        return int(self._log_m.max(axis=1).argmax())

    def restart(self) -> None:
        """Start the evidence afresh, as after an alarm that was told."""
        self._log_m[:] = 0.0
        self.log_evalue = 0.0

    def dump(self) -> dict[str, Any]:
        """The running evidence, as plain JSON values."""
        return {
            "log_m": self._log_m.ravel().tolist(),
            "began": self._began.ravel().tolist(),
            "alarmed": self.is_alarmed,
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`; evidence on other figures is left out."""
        log_m, began = np.array(data["log_m"], np.float64), np.array(data["began"], np.int64)
        if log_m.size == began.size == self._log_m.size:
            self._log_m, self._began = log_m.reshape(self._log_m.shape), began.reshape(self._log_m.shape)
            self.log_evalue = float(np.logaddexp.reduce(self.contributions))
        self.is_alarmed = bool(data["alarmed"])


def gains(shares: Floats, limits: Floats) -> Floats:
    """What each bet wins by one observation, [..., levels, multipliers], nats; the others are [..., levels]."""
    limit = limits[..., None]
    rate = np.maximum(np.minimum(limit * MULTIPLIERS, _RATE_CAP), limit)
    bet = (rate - limit) / (limit * (1 - limit))
    return np.asarray(np.log1p(bet * (shares[..., None] - limit)))


def upper_limit(mean: float, trials: float, *, risk: float = 0.01) -> float:
    """Upper confidence limit of the mean of independent values in [0, 1] (Chernoff's bound, so exact for 0 of n).

    It is the largest ``p`` with ``trials * KL(mean, p) <= ln(1 / risk)``; 1 without trials.
    """
    if trials <= 0:
        return 1.0
    low, high, bound = mean, 1.0, math.log(1 / risk) / trials
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(mean, middle) <= bound else (low, middle)
    return high


def upper_limits(means: Floats, trials: Floats, *, risk: float = 0.01) -> Floats:
    """:func:`upper_limit` of many at once; none is given out without trials."""
    low, high = means.astype(np.float64), np.ones(len(means))
    bound = np.log(1 / risk) / np.maximum(trials, 1e-9)
    with np.errstate(all="ignore"):
        for _ in range(40):
            middle = (low + high) / 2
            rest = np.where(means < 1, (1 - means) * np.log((1 - means) / (1 - middle)), 0.0)
            divergence = rest + np.where(means > 0, means * np.log(means / middle), 0.0)
            is_within = divergence <= bound
            low, high = np.where(is_within, middle, low), np.where(is_within, high, middle)
    return high


def levels_around(trials: float) -> tuple[float, float]:
    """Quantiles between which a median lies at 95 %, of so many independent values."""
    half = min(0.49, 0.98 / math.sqrt(max(trials, 1.0)))
    return 0.5 - half, 0.5 + half


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of the Bernoulli law ``q`` from ``p``, nats."""
    if q >= 1.0:
        return 0.0 if p >= 1.0 else math.inf
    rest = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1.0 else 0.0
    return rest + (p * math.log(p / q) if p > 0.0 else 0.0)
