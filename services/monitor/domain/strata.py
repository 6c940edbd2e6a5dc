"""Compute times by the size of batches, and what those of one are beside those of others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.evidence import Floats
from services.monitor.domain.phases import COMPUTE_PHASES, Phase
from services.monitor.domain.sketch import Counts

Strata = dict[int, Counts]
"""Histograms of compute times, [compute phases, bins], by log2 of the batch's rows."""

LEVELS = (0.5, 0.9)
LEAST_BATCHES = 8
"""Of others, in batches of a size, that are compared with."""
RATIO, LEAST_NS = 1.15, 200_000
"""A batch is slow beside others' quantile from so many times it, and so much more, on."""


def sum_of(parts: Iterable[Strata]) -> Strata:
    total: Strata = {}
    for strata in parts:
        for rows, counts in strata.items():
            total[rows] = total[rows] + counts if rows in total else counts
    return total


def batches_in(strata: Strata) -> int:
    return sum(int(counts[0].sum()) for counts in strata.values())


def less(total: Strata, part: Strata) -> Strata:
    """What is left of a sum without one of its parts."""
    rest = {rows: counts - part[rows] if rows in part else counts for rows, counts in total.items()}
    return {rows: counts for rows, counts in rest.items() if counts.any()}


def compared(batches: Strata, siblings: Strata) -> tuple[float, Floats] | None:
    """How many batches there are to compare, and the share above each quantile of each phase; None for none."""
    total, above = 0.0, np.zeros(len(COMPUTE_PHASES) * len(LEVELS))
    for rows, counts in batches.items():
        beside = siblings.get(rows)
        if beside is None or beside[0].sum() < LEAST_BATCHES:
            continue
        number = float(counts[0].sum())
        total += number
        for phase in range(len(COMPUTE_PHASES)):
            usual = sketch.quantiles(beside[phase], LEVELS)
            edges = sketch.bins_of(np.maximum(RATIO * usual, usual + LEAST_NS))
            part = slice(phase * len(LEVELS), (phase + 1) * len(LEVELS))
            above[part] += number * sketch.shares_above(counts[phase], edges)
    return (total, above / total) if total else None


def quantiles_beside(
    siblings: Strata, batches: Strata, phase: Phase, levels: tuple[float, ...]
) -> tuple[Floats, Floats]:
    """Quantiles of siblings' batches, and of these, of the sizes that both have; ns, 0 where they have none.

    A size counts as much among the siblings' as it does here.
    """
    row, sizes = COMPUTE_PHASES.index(phase), batches.keys() & siblings.keys()
    usual, now = np.zeros(sketch.BINS), np.zeros(sketch.BINS)
    for rows in sizes:
        beside, here = siblings[rows][row], batches[rows][row]
        usual += beside * (here.sum() / beside.sum())
        now += here
    return sketch.quantiles(usual, levels), sketch.quantiles(now, levels)
