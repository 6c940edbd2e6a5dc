"""One anomaly score in [0, 1] for each value of a series, from this and earlier values only.

Statistics look at the newest value in different ways; each is told in nines, how unlikely it is under its own past.
Their weighted sum is comparable between files, as nines are probabilities whatever the unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.monitor.evaluation.univariate import NAMES, SeriesStatistics

WEIGHTS = {
    "residual": 1.0,
    "value": 1.0,
    "context": 1.0,
    "change": 1.0,
    "spread": 0.7,
    "recent": 2.5,
    "shape": 2.5,
}

_PROBATION = 300
_BACKGROUND_ROWS = 48
_ONSET = 0.5
_FORGETTING = 0.997
_SCALE = 30.0


class AlarmShape:
    """Turns summed nines into a score: an alarm that begins ranks above one that goes on, that one above a lull.

    ``level`` is the mean of the latest 48 or so sums, so that all of a long anomaly scores; a sum above all recent ones
    counts half as much again. Over the first 300 rows the score grows to its full size.
    """

    def __init__(self) -> None:
        self._level = 0.0
        self._highest = 0.0
        self._seen = 0

    def score(self, total: float) -> float:
        self._seen += 1
        total *= min(1.0, self._seen / _PROBATION)
        onset = _ONSET * total if total > self._highest else 0.0
        self._highest = max(total, self._highest * _FORGETTING)
        self._level += (total - self._level) / _BACKGROUND_ROWS
        return 1 - math.exp(-(total + onset + self._level) / _SCALE)


class SeriesScorer:
    """Scores a univariate series value by value; memory and time per value don't grow."""

    def __init__(self) -> None:
        self._statistics = SeriesStatistics()
        self._shape = AlarmShape()
        self._weights: Sequence[float] = [WEIGHTS[name] for name in NAMES]

    def score(self, value: float) -> float:
        """0 for a value that is NaN or infinite: it is left out."""
        if not math.isfinite(value):
            return 0.0
        nines = self._statistics.update(value)
        return self._shape.score(sum(weight * nine for weight, nine in zip(self._weights, nines, strict=True)))
