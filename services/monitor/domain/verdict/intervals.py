"""Intervals of one arm's figures that hold at all times, for the report; decisions rest on ``betting.py``.

A value ``p`` is left out once the Beta(1/2, 1/2) mixture of likelihoods over that of ``p`` exceeds ``1 / alpha``, which
happens ever to the true one with probability alpha at most (Robbins 1970; Ville). For a mean of values in [0, 1] the
same is true, as their exponential moments are at most those of 0 and 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.sketch import Counts

_TINY = 1e-12


def share_interval(total: float, units: float, *, alpha: float) -> tuple[float, float]:
    """Interval of a mean in [0, 1] from the sum over so many units; (0, 1) without any."""
    if units <= 0:
        return 0.0, 1.0
    total = min(max(total, 0.0), units)
    mean, limit = total / units, math.log(1 / alpha) - log_mixture(total, units)
    return _search(mean, 0.0, total, units, limit), _search(mean, 1.0, total, units, limit)


def quantile_interval(counts: Counts, level: float, units: float, *, alpha: float) -> tuple[float, float]:
    """Interval of a quantile in ns, of a histogram that counts as so many independent units; (0, inf) without any.

    The edges of the histogram at which its share below isn't told from ``level``, and one bin more on both sides.
    """
    if units <= 0 or not counts.any():
        return 0.0, math.inf
    below = np.cumsum(counts) / counts.sum() * units
    needed = math.log(1 / alpha)
    likelihood = below * math.log(level) + (units - below) * math.log1p(-level)
    # The mixture is looked up at whole units only: its terms cost more than all the rest.
    known = {value: log_mixture(value, units) for value in np.unique(below)}
    excess = np.array([known[value] for value in below]) - likelihood
    share = below / units
    low = np.flatnonzero((excess >= needed) & (share < level))
    high = np.flatnonzero((excess >= needed) & (share > level))
    return (
        float(sketch.EDGES[low[-1]]) if len(low) else 0.0,
        float(sketch.EDGES[high[0]]) if len(high) else math.inf,
    )


def log_mixture(total: float, units: float) -> float:
    """Logarithm of the mixture's likelihood of ``total`` ones in so many units (not whole numbers too)."""
    return math.lgamma(total + 0.5) + math.lgamma(units - total + 0.5) - math.lgamma(units + 1.0) - math.log(math.pi)


def _search(inside: float, outside: float, total: float, units: float, limit: float) -> float:
    """The end of the interval between a value in it and one beyond, to 1e-9."""
    if _log_likelihood(outside, total, units) >= -limit:
        return outside
    for _ in range(40):
        middle = (inside + outside) / 2
        if _log_likelihood(middle, total, units) >= -limit:
            inside = middle
        else:
            outside = middle
    return outside


def _log_likelihood(p: float, total: float, units: float) -> float:
    p = min(max(p, _TINY), 1.0 - _TINY)
    return total * math.log(p) + (units - total) * math.log1p(-p)


def overlap_p_values(candidate: NDArray[np.int64], baseline: NDArray[np.int64]) -> tuple[float, float]:
    """P-values of Mann-Whitney's and of Kolmogorov's and Smirnov's test, two-sided, of two histograms; (1, 1) without
    data. For one look at a size fixed beforehand, and requests taken as independent: they inform, and decide nothing.
    """
    first, second = int(candidate.sum()), int(baseline.sum())
    if not first or not second:
        return 1.0, 1.0
    both, total = (candidate + baseline).astype(np.float64), first + second
    before = np.cumsum(both) - both
    ranks = float((candidate * (before + (both + 1) / 2)).sum())
    ties = float((both**3 - both).sum()) / (total * max(1, total - 1))
    spread = math.sqrt(max(first * second / 12 * (total + 1 - ties), 0.0))
    mean = first * (total + 1) / 2
    rank_p = math.erfc(abs(ranks - mean) / spread / math.sqrt(2)) if spread else 1.0
    distance = float(np.abs(np.cumsum(candidate) / first - np.cumsum(baseline) / second).max())
    return rank_p, _kolmogorov(distance * math.sqrt(first * second / total))


def _kolmogorov(value: float) -> float:
    """Tail of Kolmogorov's law, by the series that converges fast above 0.2."""
    if value < 0.2:
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * value) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms)))
