"""What a replica says of a probe: a request with a known answer that it put to its model."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_VALUES = 512


class ProbeOutcome(StrEnum):
    """What a replica itself made of its answer, beside the first one that it gave."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"


def _none() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in little. ``exact`` must be equal in all replicas; ``values`` may differ by ``slack``."""

    exact: str = ""
    values: Floats = field(default_factory=_none)
    slack: Floats = field(default_factory=_none)

    def __bool__(self) -> bool:
        return bool(self.exact)

    def differs(self, other: Answer) -> str:
        """How, for people; empty where the two agree. NaN is equal to NaN."""
        if self.exact != other.exact or len(self.values) != len(other.values):
            return "in its shapes, or in what must be exact"
        slack = np.maximum(self.slack, other.slack)
        with np.errstate(invalid="ignore"):
            distance = np.abs(self.values - other.values)
        is_same = (self.values == other.values) | (np.isnan(self.values) & np.isnan(other.values))
        bad = ~(is_same | (distance <= slack))
        if not bad.any():
            return ""
        finite = distance[bad & np.isfinite(distance)]
        furthest = f", the furthest by {finite.max():.2g}" if len(finite) else ""
        return f"in {int(bad.sum())} of {len(bad)} numbers{furthest}"


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a span of a probe says. ``worst_error`` is a share of the largest element of ``output``.

    ``weights`` is the digest of the files that the replica loaded, and ``expected`` the registry's; empty: not known.
    """

    model: str
    version: str
    instance: str
    trace_id: bytes
    end_ns: int
    outcome: ProbeOutcome
    device: str = ""
    output: str = ""
    worst_error: float = 0.0
    detail: str = ""
    answer: Answer = Answer()
    weights: str = ""
    expected: str = ""

    @property
    def kind(self) -> str:
        """Of its device: answers of one kind are compared."""
        return self.device.partition(":")[0]

    @property
    def is_sound(self) -> bool:
        """As far as the replica itself can tell."""
        has_other_files = bool(self.weights and self.expected and self.weights != self.expected)
        return self.outcome is ProbeOutcome.PASS and not has_other_files
