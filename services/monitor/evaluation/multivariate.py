"""One anomaly score for each row of several channels, from this and earlier rows only.

What one channel can't show counts too: a row is measured by the covariance of the past, its forecast error by that of
past forecast errors. Each statistic is told in nines under its own past; their sum becomes a score as for one series.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.monitor.evaluation.calibration import TailCalibrator
from services.monitor.evaluation.dictionary import WindowDictionary
from services.monitor.evaluation.series import AlarmShape

Floats = NDArray[np.float64]

WARM_UP = 48
_ROWS = 2_048
_REACH = 12.0
_SHRINKAGE = 0.02
_RIDGE = 0.01
_GAIN = 1.5
"""There are fewer statistics than for one series."""


class MultivariateScorer:
    """Memory is O(channels² + 2,048 channels), whatever the length of the series."""

    def __init__(self, channels: int) -> None:
        """Raises ValueError: no channel."""
        if channels < 1:
            raise ValueError(f"got {channels} channels, expected at least 1")
        self._channels = channels
        self._rows: Floats = np.zeros((2 * _ROWS, channels))
        self._end = 0
        self._seen = 0
        self._next_fit = WARM_UP
        self._last = np.zeros(channels)
        self._middle: Floats = np.zeros(channels)
        self._scale: Floats = np.ones(channels)
        self._fast: Floats = np.zeros(channels)
        self._slow: Floats = np.zeros(channels)
        self._is_fitted = False
        self._dictionary = WindowDictionary(width=channels, size=512, delay=16)
        one_sided = {"is_two_sided": False}
        self._calibrators = [
            TailCalibrator(**one_sided),
            TailCalibrator(**one_sided),
            TailCalibrator(**one_sided),
            TailCalibrator(weight=1 / 8, **one_sided),
            TailCalibrator(weight=1 / 4, **one_sided),
        ]
        self._shape = AlarmShape()

    def score(self, values: tuple[float, ...]) -> float:
        """A channel without a finite value keeps its last one; a row without any scores 0.

        Raises ValueError: another number of channels.
        """
        if len(values) != self._channels:
            raise ValueError(f"got {len(values)} values, expected {self._channels}")
        row = np.asarray(values)
        is_finite = np.isfinite(row)
        if not is_finite.any():
            return 0.0
        row = np.clip(np.where(is_finite, row, self._last), -1e100, 1e100)
        self._last = row
        total = self._judge(row) if self._is_fitted else None
        self._append(row)
        self._seen += 1
        if self._seen >= self._next_fit:
            self._fit()
        return 0.0 if total is None else self._shape.score(total)

    def _judge(self, row: Floats) -> float:
        scaled = np.clip((row - self._middle) / self._scale, -_REACH, _REACH)
        before = np.clip((self._rows[self._end - 2 : self._end] - self._middle) / self._scale, -_REACH, _REACH)
        inputs = np.concatenate([before[1], before[0]])
        miss = scaled - inputs @ self._transition
        self._fast += (scaled - self._fast) / 12
        self._slow += (scaled - self._slow) / 512
        drift = self._fast - self._slow
        sizes = [
            math.sqrt(float(np.square(miss @ self._whiten_miss).mean())),
            math.sqrt(float(np.square(scaled @ self._whiten).mean())),
            float(np.abs(miss / self._typical_miss).max()),
            math.sqrt(float(np.square(drift @ self._whiten).mean())),
            self._dictionary.distance(self._fast.copy()),
        ]
        nines = (calibrator.nines(size) for calibrator, size in zip(self._calibrators, sizes, strict=True))
        return _GAIN * sum(nines)

    def _append(self, row: Floats) -> None:
        if self._end == self._rows.shape[0]:
            self._rows[:_ROWS] = self._rows[_ROWS:]
            self._end = _ROWS
        self._rows[self._end] = row
        self._end += 1

    def _fit(self) -> None:
        rows = self._rows[max(0, self._end - _ROWS) : self._end]
        low, middle, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
        scale = np.maximum((high - low) / 1.349, 0.25 * rows.std(axis=0))
        scale = np.where(scale > 1e-12 * np.abs(middle), scale, np.maximum(np.abs(middle), 1.0))
        self._middle, self._scale = middle, scale
        scaled = np.clip((rows - middle) / scale, -_REACH, _REACH)
        inputs = np.concatenate([scaled[1:-1], scaled[:-2]], axis=1)
        outputs = scaled[2:]
        gram = inputs.T @ inputs
        gram[np.diag_indices(gram.shape[0])] += _RIDGE * len(outputs)
        self._transition: Floats = np.linalg.solve(gram, inputs.T @ outputs)
        misses = outputs - inputs @ self._transition
        self._whiten = _whitening(scaled)
        self._whiten_miss = _whitening(misses)
        self._typical_miss: Floats = np.abs(misses).mean(axis=0) + 1e-3
        self._is_fitted = True
        self._next_fit = self._seen + min(max(16, self._seen // 2), _ROWS)


def _whitening(rows: Floats) -> Floats:
    """A matrix that makes the covariance of ``rows`` about the identity; shrunk, as few rows tell little of it."""
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    size = covariance.shape[0]
    shrinkage = min(1.0, _SHRINKAGE + size / len(rows))
    covariance = (1 - shrinkage) * covariance + (shrinkage * float(np.trace(covariance)) / size + 1e-9) * np.eye(size)
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors / np.sqrt(values))
