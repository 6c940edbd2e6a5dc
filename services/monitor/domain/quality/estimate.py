"""What accuracy may be, without labels: confidences, calibrated with the labels there are (CBPE).

It sees that answers became less sure, and can't see that the world has changed under answers that are as sure as ever.
So it is a hint: nothing is decided by it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 20
LEAST_LABELS = 500
"""Before that confidences can't be calibrated."""
PANE_S, PANES = 60, 60
_PRIOR_LABELS = 2.0
"""As many labels as the confidence itself counts in a bin."""


@dataclass(frozen=True, slots=True)
class AccuracyEstimate:
    """``low`` and ``high``: 95 % of the sampling error, of labels and of predictions."""

    value: float
    low: float
    high: float
    predictions: int
    labels: int


@dataclass(slots=True)
class Estimator:
    """Of one version: what became of confidences that met a label, and the confidences of the last hour."""

    _met: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, BINS)))
    """By bin of confidence: labels, right answers, sum of confidences."""
    _panes: deque[tuple[int, NDArray[np.int64]]] = field(default_factory=lambda: deque(maxlen=PANES))

    def see(self, confidence: NDArray[np.float32], *, second: int) -> None:
        """Take predictions in; NaN has no confidence."""
        counts = np.bincount(_bins(confidence[~np.isnan(confidence)]), minlength=BINS)
        pane = second // PANE_S
        if not self._panes or self._panes[-1][0] < pane:
            self._panes.append((pane, np.zeros(BINS, np.int64)))
        self._panes[-1][1][:] += counts

    def learn(self, confidence: float, *, is_right: bool) -> None:
        place = int(_bins(np.array([confidence]))[0])
        self._met[:, place] += (1.0, float(is_right), confidence)

    @property
    def labels(self) -> int:
        return int(self._met[0].sum())

    def estimate(self, *, second: int) -> AccuracyEstimate | None:
        """None where there are too few labels, or no predictions lately."""
        recent = [counts for pane, counts in self._panes if pane > second // PANE_S - PANES]
        counts = np.sum(recent, axis=0) if recent else np.zeros(BINS, np.int64)
        total = int(counts.sum())
        if self.labels < LEAST_LABELS or not total:
            return None
        met, right, confidences = self._met
        middles = np.where(met > 0, confidences / np.maximum(met, 1), (np.arange(BINS) + 0.5) / BINS)
        rates = (right + _PRIOR_LABELS * middles) / (met + _PRIOR_LABELS)
        shares = counts / total
        value = float(shares @ rates)
        spread = rates * (1 - rates)
        variance = float((shares**2 * spread / (met + _PRIOR_LABELS)).sum()) + float(shares @ spread) / total
        half = 1.96 * math.sqrt(variance)
        return AccuracyEstimate(value, max(0.0, value - half), min(1.0, value + half), total, self.labels)

    def dump(self) -> list[list[float]]:
        """What was learnt, as plain JSON values."""
        return np.round(self._met, 6).tolist()

    @classmethod
    def load(cls, data: Any) -> Estimator:
        """Raises ValueError: the data are of another make."""
        met = np.array(data, np.float64)
        if met.shape != (3, BINS) or not (np.isfinite(met).all() and (met >= 0).all()):
            raise ValueError(f"got figures of shape {met.shape}, expected {(3, BINS)}")
        return cls(met)


def _bins(confidence: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    return np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
