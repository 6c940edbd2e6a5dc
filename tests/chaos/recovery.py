"""When the answers were back, told from the times at which they came."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

_WINDOW_S = 1.0
_STEP_S = 0.05
_SHARE = 0.5


def rate(answered: Sequence[float], start: float, end: float) -> float:
    """Answers a second in [start, end); the times are in order."""
    return (bisect_left(answered, end) - bisect_left(answered, start)) / (end - start)


def time_to_recover(answered: Sequence[float], *, struck: float, until: float, usual: float) -> float:
    """Seconds from the fault until the answers were back for good; 0 where they never stayed away.

    They are away in the middle of a second that has fewer than half as many as ``usual`` (answers a second). What
    happens after ``until`` is not looked at: the last window is half a second.
    """
    recovered = struck
    steps = max(0, int((until - _WINDOW_S / 2 - struck) / _STEP_S) + 1)
    for start in (struck + step * _STEP_S for step in range(steps)):
        if rate(answered, start, min(start + _WINDOW_S, until)) < _SHARE * usual:
            recovered = start + _WINDOW_S / 2
    return recovered - struck


def counts(answered: Sequence[float], *, struck: float, start_s: float, end_s: float, bin_s: float) -> list[int]:
    """Answers in each bin of a timeline whose zero is the fault."""
    edges = [struck + start_s + index * bin_s for index in range(round((end_s - start_s) / bin_s) + 1)]
    places = [bisect_left(answered, edge) for edge in edges]
    return [after - before for before, after in pairwise(places)]
