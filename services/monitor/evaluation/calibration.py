"""How unlikely a statistic is under its own past, as -log10 of a two-sided tail probability ("nines").

Counts are kept in bins of asinh(u), so that tails have bins of equal ratio and the body bins of equal width. Within the
past the tail is the empirical one; beyond it a Pareto law goes on, with the index that Hill's estimator finds in the
outermost values and a prior that keeps it sane while there are few. Old counts fade, so that what lasts becomes usual.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PER_UNIT = 16.0
_REACH = 30.0
"""Bins go to asinh(u) = 30, a u of 5e12."""
_HALF = int(_PER_UNIT * _REACH)
_BINS = 2 * _HALF + 1
_CENTRES: Floats = (np.arange(_BINS) - _HALF) / _PER_UNIT
_MAGNITUDES: Floats = np.log(np.sinh(np.maximum(np.abs(_CENTRES), 0.5 / _PER_UNIT)))
MOST_NINES = 15.0


class TailCalibrator:
    """Turns a stream of statistics into nines; memory is a few kilobytes, whatever the length of the stream."""

    def __init__(
        self,
        *,
        memory: float = 20_000.0,
        weight: float = 1.0,
        is_two_sided: bool = True,
        tail: float = 0.02,
        prior_index: float = 4.0,
        prior_count: float = 5.0,
        warm_up: float = 20.0,
    ) -> None:
        """``memory``: observations after which old ones count 1/e; ``weight``: what one counts (dependent ones less);
        ``is_two_sided``: whether small values are unlikely too; ``tail``: share that is used for the Pareto index;
        ``warm_up``: weight before which nothing is unlikely.
        """
        self._counts: Floats = np.zeros(_BINS)
        self._pending: list[int] = []
        self._total = 0.0
        self._memory = memory
        self._weight = weight
        self._is_two_sided = is_two_sided
        self._tail = tail
        self._prior_index = prior_index
        self._prior_count = prior_count
        self._warm_up = warm_up
        self._table: list[float] = [0.0] * (_BINS + 1)
        self._next_refresh = 16

    def nines(self, statistic: float) -> float:
        """-log10 of the tail probability of ``statistic`` under what was seen before; then it is seen too."""
        place = min(max(math.asinh(statistic), -_REACH), _REACH) * _PER_UNIT + _HALF
        below = int(place)
        table = self._table
        found = table[below] + (place - below) * (table[below + 1] - table[below])
        self._pending.append(int(place + 0.5))
        if len(self._pending) >= self._next_refresh:
            self._refresh()
        return found

    def _refresh(self) -> None:
        seen = len(self._pending)
        fade = math.exp(-seen / self._memory)
        self._counts *= fade
        np.add.at(self._counts, self._pending, self._weight)
        self._pending.clear()
        self._total = float(self._counts.sum())
        self._next_refresh = int(min(max(16, self._total / self._weight / 32), 256))
        if self._total < self._warm_up:
            return
        upper = self._side(self._counts[::-1])[::-1]
        nines = np.maximum(upper, self._side(self._counts)) if self._is_two_sided else upper
        nines = np.clip(nines - math.log10(2.0), 0.0, MOST_NINES)
        self._table = [*nines.tolist(), float(nines[-1])]

    def _side(self, counts: Floats) -> Floats:
        """Nines of the tail that begins at the first bin: ``counts`` run from the outermost bin inwards."""
        total = self._total
        beyond = np.cumsum(counts) - 0.5 * counts
        empirical = -np.log10((beyond + 0.5) / (total + 1.0))
        wanted = max(self._tail * total, 2.0)
        edge = int(np.searchsorted(np.cumsum(counts), wanted))
        edge = min(edge, _HALF - 1)
        held = float(counts[:edge].sum())
        mass = max(held + 0.5 * float(counts[edge]), 1.0)
        magnitudes = _MAGNITUDES[:edge] - _MAGNITUDES[edge]
        excess = float((counts[:edge] * magnitudes).sum())
        index = (held + self._prior_count) / (excess + self._prior_count / self._prior_index)
        empirical[:edge] = -math.log10(mass / (total + 1.0)) + index * magnitudes / math.log(10.0)
        return empirical
