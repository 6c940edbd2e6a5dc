"""Rate, errors and durations per version: panes of ten seconds for questions, running totals for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.blocks import Block, Exemplar
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Phase

PANE_S = 10
PANES = 60
"""Full panes kept, beside the one being filled: ten minutes."""
OVERFLOW = ("_overflow", "_overflow")
"""Model and version of the series that takes what comes after the cap is reached; no model can have this id."""


@dataclass(slots=True)
class Sums:
    """Additive figures, of a pane or since the start."""

    outcomes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Outcome), np.int64))
    executions: int = 0
    rows: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(Phase), sketch.BINS), np.int64))
    sums_ns: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(Phase)))

    def add(self, other: Sums | PackedSums) -> None:
        """Replaces the arrays rather than changing them, so that another thread that holds them reads a whole state."""
        self.outcomes = self.outcomes + other.outcomes
        self.executions += other.executions
        self.rows += other.rows
        self.counts = self.counts + other.counts
        self.sums_ns = self.sums_ns + other.sums_ns

    @classmethod
    def of(cls, block: Block) -> Sums:
        """Those told of stand for all that was executed."""
        told = block.told
        factor = block.executed / told if told else 0.0
        counts = sketch.scaled(block.counts, block.executed) if factor > 1 else block.counts
        return cls(block.outcomes, block.executions, block.rows, counts, block.sums_ns * max(1.0, factor))

    def packed(self) -> PackedSums:
        bins = np.flatnonzero(self.counts)
        numbers = self.counts.ravel()[bins]
        return PackedSums(self.outcomes, self.executions, self.rows, bins.astype(np.uint16), numbers, self.sums_ns)


@dataclass(frozen=True, slots=True)
class PackedSums:
    """Sums that are hardly changed any more: only the bins that something is in. Most panes have few of them."""

    outcomes: NDArray[np.int64]
    executions: int
    rows: int
    bins: NDArray[np.uint16]
    numbers: NDArray[np.int64]
    sums_ns: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        counts = np.zeros((len(Phase), sketch.BINS), np.int64)
        counts.ravel()[self.bins] = self.numbers
        return counts


@dataclass(slots=True)
class Series:
    """One version's figures. ``exemplars``: the latest slow batch, and its second, by phase and octave."""

    model: str
    version: str
    last_second: int = 0
    totals: Sums = field(default_factory=Sums)
    panes: dict[int, Sums | PackedSums] = field(default_factory=dict)
    exemplars: dict[tuple[Phase, int], tuple[Exemplar, int]] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        number = block.second // PANE_S
        self.last_second = block.second
        sums = Sums.of(block)
        self.totals.add(sums)
        self._open(number).add(sums)
        # A late block is at most two panes behind: what is further ahead is from before the clock was set back.
        for other in [pane for pane in self.panes if not number - PANES <= pane <= number + 2]:
            del self.panes[other]
        for phase, exemplar in block.slowest.items():
            octave = -(-sketch.bin_of(exemplar.duration_ns) // sketch.BINS_PER_OCTAVE)
            self.exemplars[phase, octave] = exemplar, block.second

    def _open(self, number: int) -> Sums:
        """The pane to add to; all others are packed."""
        pane = self.panes.get(number)
        if not isinstance(pane, Sums):
            for other, sums in self.panes.items():
                if isinstance(sums, Sums):
                    self.panes[other] = sums.packed()
            opened = self.panes[number] = Sums()
            if pane is not None:
                opened.add(pane)
            return opened
        return pane

    def over(self, *, first_pane: int) -> Sums:
        """The sum of the panes from ``first_pane`` on."""
        total = Sums()
        for number, pane in self.panes.items():
            if number >= first_pane:
                total.add(pane)
        return total


@dataclass(frozen=True, slots=True)
class Window:
    """A version's figures over a window of ``seconds``."""

    model: str
    version: str
    seconds: float
    sums: Sums


class Figures:
    """All series. Bounded: at most ``max_series`` and the overflow series, each of at most 61 panes.

    Those without traffic keep their totals while there is room, so that what is called now and then counts on.
    """

    def __init__(self, *, max_series: int) -> None:
        self._max_series = max_series
        self._series: dict[tuple[str, str], Series] = {}

    def __len__(self) -> int:
        """Versions with traffic lately and a series of their own."""
        return sum((series.model, series.version) != OVERFLOW for series in self)

    def __iter__(self) -> Iterator[Series]:
        """The series with traffic lately, as they are; safe to use from another thread."""
        return iter([series for series in self.counted() if series.panes])

    def counted(self) -> list[Series]:
        """All series, also those of which nothing but the totals is left; safe to use from another thread."""
        return list(self._series.values())

    def add(self, block: Block) -> Series:
        """Count a block; return the series that took it.

        Only what was executed or failed by the server's fault makes a new series: model names of a client's
        invention (NOT_FOUND) must not use the series up.
        """
        key = (block.model, block.version)
        series = self._series.get(key)
        if series is None:
            is_real = block.executions or (block.version and block.outcomes[Outcome.SERVER_ERROR])
            key = key if is_real and self._has_room() else OVERFLOW
            series = self._series.setdefault(key, Series(*key))
        series.add(block)
        return series

    def _has_room(self) -> bool:
        """Whether there may be one more series. Of those without traffic, the one that had some longest ago goes."""
        own = [key for key in self._series if key != OVERFLOW]
        if len(own) < self._max_series:
            return True
        idle = [key for key in own if not self._series[key].panes]
        if idle:
            del self._series[min(idle, key=lambda key: self._series[key].last_second)]
        return bool(idle)

    def expire(self, now_s: int) -> None:
        """Forget all but the totals of series without traffic for as long as panes are kept."""
        for series in self:
            if series.last_second < now_s - PANES * PANE_S:
                series.panes, series.exemplars = {}, {}

    def keys(self, *, model: str) -> list[tuple[str, str]]:
        """Model and version of each of one model's series ("" for all) with traffic lately, in order."""
        return sorted(key for key, series in self._series.items() if series.panes and model in ("", key[0]))

    def window(self, key: tuple[str, str], *, window_s: int, now_s: float) -> Window | None:
        """Figures of a series; None where there is none any more.

        The window is rounded up to whole panes, and the pane that is being filled is added.
        """
        series = self._series.get(key)
        first = int(now_s) // PANE_S + window_s // -PANE_S
        return None if series is None else Window(*key, now_s - first * PANE_S, series.over(first_pane=first))
