"""How far a window is from the nearest ones seen before: what has a precedent is no discord."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_GOLDEN = 0.618033988749895


class WindowDictionary:
    """A bounded set of earlier windows, spread evenly over all of the past.

    Which are kept follows the fractional parts of n times the golden ratio: every range of the past and every phase of
    any period has its share. When it is full, the half with the larger fractions goes.
    """

    def __init__(self, *, width: int, size: int, delay: int, neighbours: int = 2) -> None:
        """``delay``: windows that a new one waits before it is a precedent, so that none is its own."""
        self._rows: Floats = np.zeros((size, width))
        self._squares: Floats = np.zeros(size)
        self._fractions: Floats = np.zeros(size)
        self._used = 0
        self._density = 1.0
        self._delay = delay
        self._neighbours = neighbours
        self._waiting: deque[tuple[int, float, Floats]] = deque()
        self._seen = 0

    def distance(self, window: Floats) -> float:
        """Root mean square distance to the nearest precedents; 0 while there are too few. Then the window is noted."""
        self._seen += 1
        while self._waiting and self._waiting[0][0] <= self._seen:
            _, fraction, kept = self._waiting.popleft()
            self._add(fraction, kept)
        fraction = (self._seen * _GOLDEN) % 1.0
        if fraction < self._density:
            self._waiting.append((self._seen + self._delay, fraction, window))
        used = self._used
        if used < 4 * self._neighbours:
            return 0.0
        squares = self._rows[:used] @ window
        squares *= -2.0
        squares += self._squares[:used]
        for _ in range(self._neighbours - 1):
            squares[squares.argmin()] = np.inf
        return math.sqrt(max(float(squares.min()) + float(window @ window), 0.0) / window.size)

    def _add(self, fraction: float, window: Floats) -> None:
        if fraction >= self._density:
            return
        if self._used == self._squares.size:
            self._density /= 2.0
            stays = np.flatnonzero(self._fractions < self._density)
            self._used = stays.size
            for kept in (self._rows, self._squares, self._fractions):
                kept[: stays.size] = kept[stays]
            if fraction >= self._density:
                return
        self._rows[self._used] = window
        self._squares[self._used] = window @ window
        self._fractions[self._used] = fraction
        self._used += 1
