"""Guardrail on outputs: no class may be predicted much more or less often than by the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.verdict.betting import Race, restored
from services.monitor.domain.verdict.guardrails import Evidence, Figure, Guardrail, Standing
from services.monitor.domain.verdict.intervals import share_interval
from services.monitor.domain.verdict.rates import FAULT_SECONDS, Stakes
from services.monitor.domain.verdict.sample import Pairs, Sample

CLASSES = 32
"""Classes told from each other: those seen first, and all others together."""
_OTHER = CLASSES - 1


@dataclass(slots=True)
class MixMeasure:
    """Shares of the classes in both arms; a request is a unit."""

    guardrail: Guardrail
    stakes: Stakes
    _labels: list[int] = field(default_factory=list)
    _candidate: NDArray[np.float64] = field(default_factory=lambda: np.zeros(CLASSES))
    _baseline: NDArray[np.float64] = field(default_factory=lambda: np.zeros(CLASSES))
    _harm_best: float = 0.0
    _races: dict[str, Race] = field(init=False)
    """Harm and safety, each of the candidate predicting a class too often and too rarely."""

    def __post_init__(self) -> None:
        most, horizon = self.stakes.harm_needed / FAULT_SECONDS, self.stakes.horizon
        tolerance, margin = self.guardrail.harm_from, self.guardrail.margin
        self._races = {
            name: Race(
                CLASSES,
                most_at_once=most,
                allowed=tolerance if name.startswith("harm") else -margin,
                horizon=horizon if name.startswith("harm") else 0,
                is_proof=not name.startswith("harm"),
            )
            for name in ("harm_more", "harm_less", "safe_more", "safe_less")
        }

    def observe(self, candidate: Sample, baseline: Sample, _pairs: Pairs) -> None:
        first, second = self._counts(candidate.classes), self._counts(baseline.classes)
        self._candidate, self._baseline = self._candidate + first, self._baseline + second
        n1, n2 = float(first.sum()), float(second.sum())
        self._races["harm_more"].observe(first, n1, second, n2)
        self._races["harm_less"].observe(second, n2, first, n1)
        self._races["safe_more"].observe(second, n2, first, n1)
        self._races["safe_less"].observe(first, n1, second, n2)
        harm = np.concatenate([self._races["harm_more"].log_evalues, self._races["harm_less"].log_evalues])
        self._harm_best = max(self._harm_best, float(np.logaddexp.reduce(harm)) - math.log(len(harm)))

    def _counts(self, classes: Mapping[int, int]) -> NDArray[np.float64]:
        counts = np.zeros(CLASSES)
        for label, count in classes.items():
            if label not in self._labels and len(self._labels) < _OTHER:
                self._labels.append(label)
            counts[self._labels.index(label) if label in self._labels else _OTHER] += count
        return counts

    def standing(self) -> Standing:
        used = [*range(len(self._labels)), _OTHER]
        return Standing(
            self.guardrail,
            round(float(self._candidate.sum())),
            round(float(self._baseline.sum())),
            harm_log_evalue=self._harm_best,
            harm_needed=self.stakes.harm_needed,
            safety_log_evalue=min(float(self._races[name].best[used].min()) for name in ("safe_more", "safe_less")),
            safety_needed=self.stakes.safety_needed,
        )

    def evidence(self) -> Evidence:
        shares = [counts / max(1.0, counts.sum()) for counts in (self._candidate, self._baseline)]
        most = int(np.abs(shares[0] - shares[1]).argmax())
        alpha = self.stakes.alpha / CLASSES
        first, second = (
            Figure(float(share[most]), *share_interval(float(counts[most]), float(counts.sum()), alpha=alpha))
            for share, counts in zip(shares, (self._candidate, self._baseline), strict=True)
        )
        label = f"class {self._labels[most]}" if most < len(self._labels) else "all further classes"
        return Evidence(
            self.standing(),
            first,
            second,
            change_low=first.low - second.high,
            change_high=first.high - second.low,
            detail=label if self._labels else "",
        )

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "labels": self._labels,
            "candidate": self._candidate.tolist(),
            "baseline": self._baseline.tolist(),
            "harm_best": self._harm_best,
            "races": {name: race.dump() for name, race in self._races.items()},
        }

    def load(self, data: Mapping[str, Any]) -> None:
        self._labels = list(data["labels"])
        self._candidate = restored(data["candidate"], self._candidate)
        self._baseline = restored(data["baseline"], self._baseline)
        self._harm_best = data["harm_best"]
        for name, race in self._races.items():
            race.load(data["races"][name])
