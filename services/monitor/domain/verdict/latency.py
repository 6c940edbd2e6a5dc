"""Guardrails on durations: "this quantile is at most so much slower", for all shifts of the histogram at once.

Where the baseline exceeds an edge of the histogram near its quantile (known from earlier seconds), the candidate may
exceed an edge ``shift`` bins on no more often: seconds are compared with themselves, so load that moves both cancels.
Both edges are exact, so a proof of harm needs up to a bin (9 %) more than the margin, a proof of safety a bin less.

Requests of a second are slow together, and so are successive seconds. What that does to both arms alike is no
evidence; by how much more they differ than chance allows is learnt from the seconds before (``imbalance.py``), and so
many requests count as one; at first a second counts as one. How each arm moves by itself (``dispersion.py``) is for the
intervals of its own quantiles. Compute phases are compared among batches of like size, of which each is a unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.phases import Phase
from services.monitor.domain.sketch import BINS, BINS_PER_OCTAVE, EDGES, Counts
from services.monitor.domain.verdict.betting import Race, restored
from services.monitor.domain.verdict.dispersion import Dispersion
from services.monitor.domain.verdict.guardrails import Evidence, Figure, Guardrail, Standing
from services.monitor.domain.verdict.imbalance import Imbalance
from services.monitor.domain.verdict.intervals import overlap_p_values, quantile_interval
from services.monitor.domain.verdict.rates import LATENCY_SECONDS, Stakes
from services.monitor.domain.verdict.sample import ANY_ROWS, Pairs, Sample, no_durations

SHIFTS: NDArray[np.int64] = np.array([
    -16, -12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64,
])  # fmt: skip
"""Bins by which the candidate is taken to be slower: a quarter to 256 times the duration."""
LEAST_REFERENCE = 20
"""Units of the baseline before its quantile is used."""
SUSPICION = math.log(10)
"""Evidence of harm from which on seconds are not learnt from."""


@dataclass(slots=True)
class _Arm:
    """An arm's durations that were compared, and the units that its own quantiles are known by."""

    counts: Counts = field(default_factory=no_durations)
    units: float = 0.0
    dispersion: Dispersion = field(default_factory=Dispersion)

    def take(self, counts: Counts, size: float, tail: float, *, is_suspicious: bool) -> None:
        """Count a second in which a share ``tail`` was long."""
        units = float(counts.sum()) / size
        self.units += units / self.dispersion.size(units)
        self.dispersion.add(tail * units, units, is_suspicious=is_suspicious)
        self.counts = self.counts + counts

    def figure(self, level: float, alpha: float) -> Figure:
        value = sketch.quantile(self.counts, level)
        return Figure(value, *quantile_interval(self.counts, level, self.units, alpha=alpha))

    def dump(self) -> list[Any]:
        return [self.counts.tolist(), self.units, self.dispersion.dump()]

    @classmethod
    def load(cls, data: list[Any]) -> _Arm:
        return cls(_counts(data[0]), data[1], Dispersion.load(data[2]))


@dataclass(slots=True)
class LatencyMeasure:
    """One quantile of one phase."""

    guardrail: Guardrail
    stakes: Stakes
    _candidate: _Arm = field(default_factory=_Arm)
    _baseline: _Arm = field(default_factory=_Arm)
    _reference: dict[int, Counts] = field(default_factory=dict)
    """The baseline's earlier durations, by rows."""
    _edge: int = BINS - 1
    """The first bin edge at or above the baseline's quantile, as last used."""
    _imbalance: Imbalance = field(default_factory=Imbalance)
    _above: Race = field(init=False)
    _below: Race = field(init=False)

    def __post_init__(self) -> None:
        most = self.stakes.harm_needed / LATENCY_SECONDS
        self._above = Race(len(SHIFTS), most_at_once=most, horizon=self.stakes.horizon, with_stakes=True)
        self._below = Race(len(SHIFTS), most_at_once=most, with_stakes=True, is_proof=True)

    @property
    def _level(self) -> float:
        return self.guardrail.level or 0.5

    def observe(self, candidate: Sample, baseline: Sample, _pairs: Pairs) -> None:
        phase = Phase.TOTAL if self.guardrail.phase is None else self.guardrail.phase
        first, second = candidate.durations.get(phase, {}), baseline.durations.get(phase, {})
        known = [
            rows
            for rows in first.keys() & second.keys()
            if rows in self._reference and self._reference[rows].sum() >= LEAST_REFERENCE
        ]
        if known:
            rows = max(known, key=lambda one: (min(first[one].sum(), second[one].sum()), one))
            is_flow = rows == ANY_ROWS
            sizes = (candidate.largest, baseline.largest) if is_flow else (1, 1)
            self._compare(self._reference[rows], first[rows], second[rows], sizes)
        for rows, counts in second.items():
            self._reference[rows] = self._reference[rows] + counts if rows in self._reference else counts

    def _compare(self, reference: Counts, candidate: Counts, baseline: Counts, sizes: tuple[int, int]) -> None:
        cumulative = np.cumsum(reference)
        self._edge = edge = max(1, int(np.searchsorted(cumulative, self._level * cumulative[-1] * (1 - 1e-12))))
        tails = [1.0 - np.cumsum(counts) / counts.sum() for counts in (candidate, baseline)]
        damping = self._imbalance.inflation
        harm = self._harm_at()
        is_suspicious = harm is not None and self._above.log_evalues[harm] > SUSPICION
        for arm, counts, size, tail in zip(
            (self._candidate, self._baseline), (candidate, baseline), sizes, tails, strict=True
        ):
            arm.take(counts, size, float(tail[edge - 1]), is_suspicious=is_suspicious)
        requests = float(candidate.sum()), float(baseline.sum())
        as_one = self._imbalance.size(*requests)
        units = [count / as_one for count in requests]
        long = requests[0] * float(tails[0][edge - 1]), requests[1] * float(tails[1][edge - 1])
        self._imbalance.add(long, requests, is_suspicious=is_suspicious)
        at = [np.clip(start + SHIFTS, 0, BINS - 1) for start in (edge, edge - 1)]
        same = np.ones(len(SHIFTS))
        above = units[0] * tails[0][at[0]], units[0], units[1] * tails[1][edge] * same, units[1]
        below = units[1] * tails[1][edge - 1] * same, units[1], units[0] * tails[0][at[1]], units[0]
        self._above.observe(*above, damping=damping)
        self._below.observe(*below, damping=damping)

    def standing(self) -> Standing:
        harm, safety = self._harm_at(), self._safety_at()
        return Standing(
            self.guardrail,
            int(self._candidate.counts.sum()),
            int(self._baseline.counts.sum()),
            harm_log_evalue=0.0 if harm is None else float(self._above.best[harm]),
            harm_needed=self.stakes.harm_needed,
            safety_log_evalue=float(self._below.best[safety]),
            safety_needed=self.stakes.safety_needed,
        )

    def evidence(self) -> Evidence:
        alpha = self.stakes.alpha
        longer, shorter = (SHIFTS[race.best >= math.log(1 / alpha)] for race in (self._above, self._below))
        return Evidence(
            self.standing(),
            self._candidate.figure(self._level, alpha),
            self._baseline.figure(self._level, alpha),
            change_low=_ratio(int(longer.max())) if len(longer) else 0.0,
            change_high=_ratio(int(shorter.min())) if len(shorter) else math.inf,
            p_values=overlap_p_values(self._candidate.counts, self._baseline.counts),
        )

    def _bound_ns(self, edge: int) -> float:
        """The longest that the margin allows where the baseline takes as long as an edge."""
        at = float(EDGES[edge])
        return max(at * (1 + self.guardrail.margin), at + self.guardrail.margin_ns)

    def _harm_at(self) -> int | None:
        """The smallest shift that is at least the margin; None where the histogram ends before."""
        enough = EDGES[np.minimum(self._edge + SHIFTS, BINS - 1)] >= self._bound_ns(self._edge) * (1 - 1e-9)
        found = np.flatnonzero(enough & (SHIFTS > 0) & (self._edge + SHIFTS < BINS))
        return int(found[0]) if len(found) else None

    def _safety_at(self) -> int:
        """The largest shift that is at most the margin."""
        edges = EDGES[np.clip(self._edge - 1 + SHIFTS, 0, BINS - 1)]
        return int(np.flatnonzero(edges <= self._bound_ns(self._edge - 1) * (1 + 1e-9))[-1])

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "arms": [self._candidate.dump(), self._baseline.dump()],
            "reference": [[rows, counts.tolist()] for rows, counts in self._reference.items()],
            "edge": self._edge,
            "imbalance": self._imbalance.dump(),
            "above": self._above.dump(),
            "below": self._below.dump(),
        }

    def load(self, data: Mapping[str, Any]) -> None:
        self._candidate, self._baseline = (_Arm.load(arm) for arm in data["arms"])
        self._reference = {rows: _counts(counts) for rows, counts in data["reference"]}
        self._edge = data["edge"]
        self._imbalance = Imbalance.load(data["imbalance"])
        self._above.load(data["above"])
        self._below.load(data["below"])


def _counts(values: Any) -> Counts:
    return restored(values, np.zeros(BINS)).astype(np.int64)


def _ratio(shift: int) -> float:
    return float(2.0 ** (shift / BINS_PER_OCTAVE))
