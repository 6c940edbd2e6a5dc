"""The latest values of a series, contiguous in memory, and the period they repeat with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class History:
    """The latest ``capacity`` values; appending costs O(1) on average, and any tail of them is a view."""

    def __init__(self, capacity: int) -> None:
        self._values: Floats = np.zeros(2 * capacity)
        self._capacity = capacity
        self._end = 0

    def __len__(self) -> int:
        return min(self._end, self._capacity)

    def append(self, value: float) -> None:
        if self._end == self._values.size:
            self._values[: self._capacity] = self._values[self._capacity :]
            self._end = self._capacity
        self._values[self._end] = value
        self._end += 1

    def latest(self, count: int) -> Floats:
        """The latest ``count`` values, oldest first: a view, good until the next ``append``."""
        return self._values[self._end - min(count, len(self)) : self._end]

    def back(self, steps: int) -> float:
        """The value ``steps`` before the next one (1: the latest)."""
        return float(self._values[self._end - steps])


def find_period(values: Floats, *, shortest: int = 4, least_correlation: float = 0.3) -> int:
    """The lag with the highest autocorrelation beyond the first dip, 0 if none is high enough.

    Looks at lags up to 2/5 of the values, so that a period was seen two and a half times. Values are clipped at five
    times their spread, so that an outlier neither hides nor makes a period.
    """
    correlation = _autocorrelation(values)
    dips = np.flatnonzero(correlation[1:] < 0.5 * max(float(correlation[1]), 0.0))
    first = max(int(dips[0]) + 1, shortest) if dips.size else correlation.size
    if first >= correlation.size - 1:
        return 0
    inner = correlation[first:-1]
    peaks = np.flatnonzero((inner >= correlation[first - 1 : -2]) & (inner >= correlation[first + 1 :]))
    heights = inner[peaks]
    best = float(heights.max(initial=0.0))
    if best < least_correlation:
        return 0
    # The shortest lag that is about as good: a multiple of a period is one too.
    return first + int(peaks[np.flatnonzero(heights >= best - 0.05)[0]])


def _autocorrelation(values: Floats) -> Floats:
    """At lags from 0 to 2/5 of the values, without trend; zeros where nothing varies."""
    size = values.size
    lags = 2 * size // 5 + 1
    middle = float(np.median(values))
    spread = float(np.abs(values - middle).mean())
    if spread <= 0.0 or lags < 2:
        return np.zeros(max(lags, 2))
    clipped = np.clip((values - middle) / spread, -5.0, 5.0)
    steps = np.arange(size)
    clipped -= np.polynomial.polynomial.polyval(steps, np.polynomial.polynomial.polyfit(steps, clipped, 1))
    padded = 1 << (2 * size - 1).bit_length()
    spectrum = np.fft.rfft(clipped, padded)
    products = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, padded)[:lags]
    if products[0] <= 1e-9 * size:
        return np.zeros(lags)
    return np.asarray(products / products[0] * (size / (size - np.arange(lags))))
