"""The next value of a series from its latest ones and those one period ago: a robust autoregression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.monitor.evaluation.history import History

Floats = NDArray[np.float64]

_NEAR_LAGS = (1, 2, 3, 4)
_ROWS = 2_048
_RIDGE = 1e-3
_REACH = 6.0
"""Inputs are clipped at so many scales from the middle, so that a spike doesn't echo in the forecasts after it."""


class Forecast:
    """Coefficients that stay as they are until the next ``fit``; until the first one the last value is the forecast."""

    def __init__(self) -> None:
        self._lags: tuple[int, ...] = (1,)
        self._weights: list[float] = [1.0]
        self._middle = 0.0
        self._reach = 0.0

    def next(self, history: History) -> float:
        middle, reach = self._middle, self._reach
        if reach <= 0.0:
            return history.back(1)
        total = middle
        for lag, weight in zip(self._lags, self._weights, strict=True):
            total += weight * min(max(history.back(lag) - middle, -reach), reach)
        return total

    def fit(self, history: History, *, period: int, middle: float, scale: float) -> None:
        """Least squares over the latest rows, twice: the second time large residuals count less (Huber)."""
        lags: tuple[int, ...] = _NEAR_LAGS
        if period > _NEAR_LAGS[-1] + 1 and len(history) >= 2 * period + 32:
            lags = (*_NEAR_LAGS, period - 1, period, period + 1)
        values = history.latest(_ROWS + lags[-1])
        rows = values.size - lags[-1]
        if rows < 4 * len(lags) or scale <= 0.0:
            return
        scaled = np.clip((values - middle) / scale, -_REACH, _REACH)
        inputs = np.stack([scaled[lags[-1] - lag : values.size - lag] for lag in lags], axis=1)
        outputs = scaled[lags[-1] :]
        weights = np.ones(rows)
        solution: Floats = np.zeros(len(lags))
        for _ in range(2):
            weighted = inputs * weights[:, None]
            gram = weighted.T @ inputs
            gram[np.diag_indices(len(lags))] += _RIDGE * rows
            solution = np.asarray(np.linalg.solve(gram, weighted.T @ outputs), dtype=np.float64)
            residuals = np.abs(outputs - inputs @ solution)
            usual = 1.5 * float(np.median(residuals)) + 1e-9
            weights = np.minimum(1.0, 2.0 * usual / np.maximum(residuals, 1e-12))
        self._lags = lags
        self._weights = solution.tolist()
        self._middle = middle
        self._reach = _REACH * scale
