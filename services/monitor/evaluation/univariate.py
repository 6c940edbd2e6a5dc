"""How unusual each value of one series is, from it and the values before it only.

Statistics look at the newest value, each in its own way; a calibrator tells for each how unlikely it is under its own
past, in nines (-log10 of the tail probability). Those that look at many rows at once count less in their
calibrators, as neighbours are alike.

- ``residual``: the miss of a robust autoregression, in typical misses;
- ``value``: the distance from the median of the past, in spreads;
- ``context``: the distance from the median of the same phase of up to five periods, if there is a period;
- ``change``: a fast mean of the former against a slow one;
- ``spread``: how much the series moves now against long: bursts and flat lines;
- ``recent``: how far the latest 8 values are from any 8 before;
- ``shape``: how far the form of the latest period (64 rows without one) is from any before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.monitor.evaluation.calibration import TailCalibrator
from services.monitor.evaluation.dictionary import WindowDictionary
from services.monitor.evaluation.forecast import Forecast
from services.monitor.evaluation.history import History, find_period

Floats = NDArray[np.float64]

NAMES = ("residual", "value", "context", "change", "spread", "recent", "shape")
WARM_UP = 32
_CAPACITY = 32_768
_LIMIT = 1e100
_OFF_SCALE = 1_000.0
_SHAPE_POINTS = 16
_RECENT_POINTS = 8
_SIZE = 1_024


class SeriesStatistics:
    """The nines of each statistic (``NAMES``), value by value."""

    def __init__(self) -> None:
        self._history = History(_CAPACITY)
        self._forecast = Forecast()
        self._seen = 0
        self._next_fit = WARM_UP
        self._next_period = 64
        self.period = 0
        self._origin = self._middle = 0.0
        self._scale = 0.0
        self._typical_residual = 0.0
        self._typical_context = 0.0
        self._fast = self._slow = 0.0
        self._near = self._far = 0.0
        self._window = 64
        self._shape = self._new_shape()
        self._recent = WindowDictionary(width=_RECENT_POINTS, size=_SIZE, delay=_RECENT_POINTS)
        self._calibrators = [
            TailCalibrator(),
            TailCalibrator(),
            TailCalibrator(),
            TailCalibrator(weight=1 / 8),
            TailCalibrator(weight=1 / 16),
            TailCalibrator(weight=1 / 4, is_two_sided=False),
            TailCalibrator(weight=1 / 16, is_two_sided=False),
        ]

    def update(self, value: float) -> list[float]:
        scale = self._scale
        reach = _OFF_SCALE * scale if scale > 0.0 else _LIMIT
        kept = min(max(value, self._middle - reach), self._middle + reach)
        if self._seen < WARM_UP:
            found = [0.0] * len(NAMES)
            self._history.append(kept)
        else:
            statistics = self._judge(value)
            self._history.append(kept)
            statistics += self._distances()
            found = [calibrator.nines(one) for calibrator, one in zip(self._calibrators, statistics, strict=True)]
        self._seen += 1
        if self._seen >= self._next_fit:
            self._refit()
        return found

    def _judge(self, value: float) -> list[float]:
        history = self._history
        scale = self._scale
        value = min(max(value, -_LIMIT), _LIMIT)
        previous = history.back(1)
        miss = value - self._forecast.next(history)
        residual, self._typical_residual = _relative(miss, self._typical_residual, scale)
        distance = value - self._middle
        standing = min(max(distance / scale, -_OFF_SCALE), _OFF_SCALE) if scale > 0.0 else _sign(distance)
        period = self.period
        if period:
            usual = sorted(history.back(period * turn) for turn in range(1, min(5, len(history) // period) + 1))
            middle = 0.5 * (usual[(len(usual) - 1) // 2] + usual[len(usual) // 2])
            context, self._typical_context = _relative(value - middle, self._typical_context, scale)
        else:
            context = 0.0
        basis = min(max(context if period else standing, -8.0), 8.0)
        self._fast += (basis - self._fast) / 8
        self._slow += (basis - self._slow) / 128
        step = abs(value - previous)
        if scale > 0.0:
            relative = min(step / scale, 30.0)
            self._near += (relative - self._near) / 16
            self._far += (relative - self._far) / 512
        spread = math.log((self._near + 1e-3) / (self._far + 1e-3))
        return [residual, standing, context, self._fast - self._slow, spread]

    def _distances(self) -> list[float]:
        scale = self._scale
        if scale <= 0.0 or self._seen < self._window:
            return [0.0, 0.0]
        latest = self._history.latest(self._window)
        recent = self._recent.distance(latest[-_RECENT_POINTS:] - self._origin)
        points = latest.reshape(_SHAPE_POINTS, -1).mean(axis=1)
        points -= points.mean()
        return [recent / scale, self._shape.distance(points) / scale]

    def _new_shape(self) -> WindowDictionary:
        return WindowDictionary(width=_SHAPE_POINTS, size=_SIZE, delay=self._window)

    def _refit(self) -> None:
        seen = self._seen
        values = self._history.latest(8_192)
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        if seen == WARM_UP:
            self._origin = float(middle)
        self._middle = float(middle)
        self._scale = max(float(high - low) / 1.349, 0.25 * float(np.std(values)))
        if self._scale < 1e-12 * abs(self._middle):
            self._scale = 0.0
        if seen >= self._next_period:
            self._find_period()
            self._next_period = int(seen * 1.25)
        self._forecast.fit(self._history, period=self.period, middle=self._middle, scale=self._scale)
        self._next_fit = seen + min(max(16, seen // 16), 256)

    def _find_period(self) -> None:
        period = find_period(self._history.latest(_CAPACITY))
        if period == self.period:
            return
        self.period = period
        self._typical_context = 0.0
        blocks = min(max(round(period / _SHAPE_POINTS), 1), 64) if period else 4
        window = blocks * _SHAPE_POINTS
        if window != self._window:
            self._window = window
            self._shape = self._new_shape()
            values = self._history.latest(8 * _SIZE)
            for start in range(0, values.size - window + 1, max(1, values.size // 512)):
                points = values[start : start + window].reshape(_SHAPE_POINTS, -1).mean(axis=1)
                self._shape.distance(points - points.mean())


def _sign(difference: float) -> float:
    return math.copysign(_OFF_SCALE, difference) if difference else 0.0


def _relative(miss: float, typical: float, scale: float) -> tuple[float, float]:
    """``miss`` in units of the typical one, and the typical one with it: large misses are clipped there."""
    if typical <= 0.0:
        if scale <= 0.0:
            return _sign(miss), 0.0
        typical = scale
    floor = 1e-3 * scale
    found = miss / max(typical, floor, 1e-300)
    typical += (min(abs(miss), 4.0 * typical) - typical) / 200
    return min(max(found, -_OFF_SCALE), _OFF_SCALE), typical
