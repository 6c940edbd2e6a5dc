"""Guardrails on shares: errors, NaN, confidence, accuracy, pairs of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.monitor.domain.verdict.betting import Difference, Limit, grid_with
from services.monitor.domain.verdict.guardrails import Evidence, Figure, Guardrail, Kind, Standing
from services.monitor.domain.verdict.intervals import share_interval
from services.monitor.domain.verdict.sample import Pairs, Sample, Tally


class Stakes(NamedTuple):
    """How much evidence decides, in nats, and how it is gathered."""

    harm_needed: float
    safety_needed: float
    horizon: int
    """Seconds until the deadline."""
    alpha: float
    """Risk of each interval that is shown."""


FAULT_SECONDS, LATENCY_SECONDS = 2, 10
"""Least number of seconds in which evidence of harm can gather."""


@dataclass(slots=True)
class _Arm:
    """Sum of values, requests, and the units that these count as."""

    total: float = 0.0
    count: float = 0.0
    units: float = 0.0

    def add(self, tally: Tally, size: float) -> tuple[float, float]:
        """Take requests in of which up to ``size`` share a fate; returns their sum and number in units."""
        self.total += tally.total
        self.count += tally.count
        self.units += tally.count / size
        return tally.total / size, tally.count / size

    def figure(self, alpha: float) -> Figure:
        if not self.count:
            return Figure(0.0, 0.0, 1.0)
        mean = self.total / self.count
        return Figure(mean, *share_interval(mean * self.units, self.units, alpha=alpha))


def _flipped(tally: Tally) -> Tally:
    return Tally(tally.count, tally.count - tally.total)


def _rest(figure: Figure) -> Figure:
    return Figure(1.0 - figure.value, 1.0 - figure.high, 1.0 - figure.low)


_READERS: Mapping[Kind, Callable[[Sample], tuple[Tally, int]]] = {
    Kind.ERROR_RATE: lambda sample: (sample.outcomes, sample.largest),
    Kind.NONFINITE: lambda sample: (sample.nonfinite, sample.largest),
    # Inputs that share a batch are no more alike than others.
    Kind.CONFIDENCE: lambda sample: (_flipped(sample.confidence), 1),
    Kind.ACCURACY: lambda sample: (sample.wrong, 1),
}
"""The share that must not rise, and how many requests share a fate."""


@dataclass(slots=True)
class ShareMeasure:
    """One share of both arms. For pairs only those count of which one failed: McNemar's test."""

    guardrail: Guardrail
    stakes: Stakes
    _candidate: _Arm = field(default_factory=_Arm)
    _baseline: _Arm = field(default_factory=_Arm)
    _difference: Difference = field(init=False)

    def __post_init__(self) -> None:
        grid = grid_with(self.guardrail.margin, self.guardrail.harm_from)
        most = self.stakes.harm_needed / FAULT_SECONDS
        self._difference = Difference(grid, most_at_once=most, horizon=self.stakes.horizon)

    def observe(self, candidate: Sample, baseline: Sample, pairs: Pairs) -> None:
        if self.guardrail.kind is Kind.PAIRED_ERRORS:
            first = Tally(pairs.count, pairs.candidate_failed), pairs.largest
            second = Tally(pairs.count, pairs.baseline_failed), pairs.largest
        else:
            read = _READERS[self.guardrail.kind]
            first, second = read(candidate), read(baseline)
        self._difference.observe(*self._candidate.add(*first), *self._baseline.add(*second))

    def standing(self) -> Standing:
        harm, safety = (self._difference.at(at) for at in (self.guardrail.harm_from, self.guardrail.margin))
        return Standing(
            self.guardrail,
            round(self._candidate.count),
            round(self._baseline.count),
            harm_log_evalue=float(self._difference.above.best[harm]),
            harm_needed=self.stakes.harm_needed,
            safety_log_evalue=float(self._difference.below.best[safety]),
            safety_needed=self.stakes.safety_needed,
        )

    def evidence(self) -> Evidence:
        candidate, baseline = (arm.figure(self.stakes.alpha) for arm in (self._candidate, self._baseline))
        low, high = self._difference.interval(self.stakes.alpha)
        if self.guardrail.kind is Kind.CONFIDENCE:  # Its lack is compared, itself is shown.
            candidate, baseline, low, high = _rest(candidate), _rest(baseline), -high, -low
        return Evidence(self.standing(), candidate, baseline, change_low=low, change_high=high)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        arms = [[arm.total, arm.count, arm.units] for arm in (self._candidate, self._baseline)]
        return {"arms": arms, "difference": self._difference.dump()}

    def load(self, data: Mapping[str, Any]) -> None:
        self._candidate, self._baseline = (_Arm(*arm) for arm in data["arms"])
        self._difference.load(data["difference"])


@dataclass(slots=True)
class DisagreementMeasure:
    """Share of pairs whose answers differ by more than the tolerance, against the margin itself."""

    guardrail: Guardrail
    stakes: Stakes
    _pairs: _Arm = field(default_factory=_Arm)
    _harm: Limit = field(init=False)
    _safety: Limit = field(init=False)

    def __post_init__(self) -> None:
        most = self.stakes.harm_needed / FAULT_SECONDS
        self._harm = Limit(max(self.guardrail.harm_from, 1e-4), most_at_once=most)
        self._safety = Limit(self.guardrail.margin, most_at_once=most)

    def observe(self, _candidate: Sample, _baseline: Sample, pairs: Pairs) -> None:
        total, units = self._pairs.add(Tally(pairs.count, pairs.differing), pairs.largest)
        self._harm.observe(total, units)
        self._safety.observe(total, units)

    def standing(self) -> Standing:
        count = round(self._pairs.count)
        return Standing(
            self.guardrail,
            count,
            count,
            harm_log_evalue=float(self._harm.best[0]),
            harm_needed=self.stakes.harm_needed,
            safety_log_evalue=float(self._safety.best[1]),
            safety_needed=self.stakes.safety_needed,
        )

    def evidence(self) -> Evidence:
        figure = self._pairs.figure(self.stakes.alpha)
        return Evidence(self.standing(), figure, Figure(0.0, 0.0, 0.0), change_low=figure.low, change_high=figure.high)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        pairs = [self._pairs.total, self._pairs.count, self._pairs.units]
        return {"pairs": pairs, "harm": self._harm.dump(), "safety": self._safety.dump()}

    def load(self, data: Mapping[str, Any]) -> None:
        self._pairs = _Arm(*data["pairs"])
        self._harm.load(data["harm"])
        self._safety.load(data["safety"])
