"""Scores as the Numenta Anomaly Benchmark counts them (Lavin, Ahmad: Evaluating real-time anomaly detection, 2015).

The first detection in a window earns the more the earlier it is; each detection outside costs, less shortly after a
window; a window without any costs. One threshold holds for all files, the one that serves the detector best; 0 is what
silence earns, 100 what is perfect.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROFILES = {"standard": (0.11, 1.0), "reward_low_FP_rate": (0.22, 1.0), "reward_low_FN_rate": (0.11, 2.0)}
"""What a detection outside of windows and a missed window cost; a window found at its beginning earns 1."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows of one file after its probation: score, worth of a detection, and the window's number (-1: none)."""

    scores: Floats
    worth: Floats
    window: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Result:
    profile: str
    score: float
    threshold: float
    found: int
    windows: int
    false_alarms: int


def judge(scores: Floats, windows: Iterable[tuple[int, int]], *, first_window: int = 0) -> Judged:
    """``windows``: first and last row of each, in order; they are numbered from ``first_window``."""
    worth = np.full(scores.size, -1.0)
    number = np.full(scores.size, -1, dtype=np.int64)
    edges = sorted(windows)
    for turn, (first, last) in enumerate(edges):
        following = edges[turn + 1][0] if turn + 1 < len(edges) else scores.size
        width = last - first + 1
        inside = np.arange(first, last + 1)
        worth[first : last + 1] = _sigmoid((inside - last - 1) / width) / _sigmoid(np.array(-1.0))
        number[first : last + 1] = first_window + turn
        after = np.arange(last + 1, following)
        worth[last + 1 : following] = _sigmoid((after - last) / max(width - 1, 1))
    probation = int(min(0.15 * scores.size, 750))
    return Judged(scores[probation:], worth[probation:], number[probation:])


def best(files: list[Judged], profile: str) -> Result:
    """The score at the threshold that is best for all files together. Raises ValueError: there is no window."""
    false_cost, miss_cost = PROFILES[profile]
    scores = np.concatenate([file.scores for file in files])
    worth = np.concatenate([file.worth for file in files])
    window = np.concatenate([file.window for file in files])
    numbers = np.unique(window[window >= 0])
    if not numbers.size:
        raise ValueError("got no labelled window, expected at least one")
    order = np.argsort(-scores, kind="stable")
    earned = dict.fromkeys(numbers.tolist(), -miss_cost)
    outside, false_alarms, found = 0.0, 0, 0
    total = -miss_cost * numbers.size
    top = Result(profile, 0.0, np.inf, 0, int(numbers.size), 0)
    ranked = scores[order]
    is_last = np.append(ranked[1:] != ranked[:-1], True)
    for row, ends_here in zip(order.tolist(), is_last.tolist(), strict=True):
        where = int(window[row])
        if where < 0:
            outside += false_cost * float(worth[row])
            false_alarms += 1
        elif worth[row] > earned[where]:
            found += earned[where] == -miss_cost
            total += float(worth[row]) - earned[where]
            earned[where] = float(worth[row])
        if ends_here:
            score = 100 * (total + outside + miss_cost * numbers.size) / ((1 + miss_cost) * numbers.size)
            if score > top.score:
                top = Result(profile, score, float(scores[row]), found, int(numbers.size), false_alarms)
    return top


def _sigmoid(position: Floats) -> Floats:
    """1 far before the end of a window (0), -1 far after it."""
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)
