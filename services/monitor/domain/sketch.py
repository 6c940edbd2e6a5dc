"""A histogram of durations with logarithmic bins: small, mergeable by addition, quantiles of known relative error.

Bin ``i`` holds durations in ``(EDGES[i - 1], EDGES[i]]``; edges grow by 2^(1/8) from 128 ns to 73 minutes, so every
eighth edge is a power of two and Prometheus buckets are exact sums of bins. A quantile is the geometric middle of the
bin that holds the order statistic, so its relative error is at most 2^(1/16) - 1 = 4.4 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""Occurrences by bin, int64, last axis of length ``BINS``."""

BINS_PER_OCTAVE = 8
OCTAVES = 35
BINS = OCTAVES * BINS_PER_OCTAVE + 1
FLOOR_NS = 128.0
EDGES: NDArray[np.float64] = FLOOR_NS * 2.0 ** (np.arange(BINS) / BINS_PER_OCTAVE)
RELATIVE_ERROR = 2.0 ** (0.5 / BINS_PER_OCTAVE) - 1.0

_MIDDLES = np.concatenate([EDGES[:1], np.sqrt(EDGES[:-1] * EDGES[1:])])


def bins_of(values_ns: NDArray[np.generic]) -> NDArray[np.intp]:
    """The bin of each duration; what is shorter or longer than the range goes to the first or last bin."""
    return np.minimum(np.searchsorted(EDGES, values_ns), BINS - 1)


def bin_of(value_ns: float) -> int:
    return int(bins_of(np.asarray([value_ns]))[0])


def count(bins: NDArray[np.intp], weights: NDArray[np.int64] | None = None) -> Counts:
    """Histogram of bin numbers; ``weights`` says how often each counts."""
    return np.bincount(bins, weights, minlength=BINS).astype(np.int64)


def scaled(counts: Counts, total: int) -> Counts:
    """Histograms in which ``total`` occurrences are spread as in ``counts``, of which none is empty."""
    cumulative = np.cumsum(counts, axis=-1)
    return np.diff(np.rint(cumulative * (total / cumulative[..., -1:])), axis=-1, prepend=0).astype(np.int64)


def quantile(counts: NDArray[np.generic], level: float) -> float:
    """The duration in nanoseconds below or at which a share ``level`` lies (0 for an empty histogram).

    ``counts`` may be weights that are no integers.
    """
    cumulative = np.cumsum(counts, dtype=np.float64)
    if cumulative[-1] <= 0:
        return 0.0
    # A hair less than the rank itself, so that rounding never moves on to the next occupied bin.
    rank = level * cumulative[-1] * (1 - 1e-12)
    return float(_MIDDLES[min(int(np.searchsorted(cumulative, rank)), BINS - 1)])


def quantiles(counts: NDArray[np.generic], levels: tuple[float, ...]) -> NDArray[np.float64]:
    """:func:`quantile` at several levels at once."""
    cumulative = np.cumsum(counts, dtype=np.float64)
    total = cumulative[-1]
    if total <= 0:
        return np.zeros(len(levels))
    ranks = np.array(levels) * (total * (1 - 1e-12))
    return _MIDDLES[np.minimum(cumulative.searchsorted(ranks), BINS - 1)]


def shares_above(counts: NDArray[np.generic], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """:func:`share_above` of several edges at once."""
    cumulative = np.cumsum(counts, dtype=np.float64)
    return 1.0 - cumulative[edges] / cumulative[-1]


def share_above(counts: NDArray[np.generic], edge: int) -> float:
    """Share of durations in bins after ``edge``, of a histogram that isn't empty."""
    return float(counts[edge + 1 :].sum() / counts.sum())
