"""What a candidate must not be worse in, by how much, and what was found out about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from services.monitor.domain.phases import Phase


class Kind(StrEnum):
    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    CONFIDENCE = "confidence"
    CLASS_MIX = "class_mix"
    NONFINITE = "nonfinite"
    ACCURACY = "accuracy"
    PAIRED_ERRORS = "paired_errors"
    DISAGREEMENT = "disagreement"


class Proof(StrEnum):
    """When a guardrail has to be proven safe before a promotion."""

    ALWAYS = "always"
    IF_SEEN = "if_seen"
    """Where either version has such figures at all."""
    NEVER = "never"


LEVELS = (0.5, 0.9, 0.95, 0.99)
"""Quantiles that may be guarded."""
LEAST_LATENCY_RATIO = 0.1
"""Margins of latency below this can't be proven: the histograms' bins are 9 % wide."""
FAULTS = (Kind.ERROR_RATE, Kind.NONFINITE, Kind.PAIRED_ERRORS)
"""What any proven rise of is harm, whatever the margin."""


@dataclass(frozen=True, slots=True)
class Guardrail:
    """``margin``: how much worse the candidate may be and still be promoted: a share (0.01 is one percentage point),
    for latency a ratio (0.1 is 10 %) or ``margin_ns``, whichever is more. ``tolerance``: what is proven to be worse by
    more than this is rolled back; the margin by default, 0 for :data:`FAULTS`; not used for latency.
    ``phase`` and ``level`` (a quantile) are latency's.
    """

    kind: Kind
    margin: float
    margin_ns: float = 0.0
    tolerance: float | None = None
    phase: Phase | None = None
    level: float | None = None
    proof: Proof = Proof.ALWAYS

    @property
    def key(self) -> str:
        """For example ``latency.total.p99``."""
        if self.phase is None or self.level is None:
            return str(self.kind)
        return f"{self.kind}.{self.phase.label}.p{round(self.level * 100)}"

    @property
    def harm_from(self) -> float:
        """The tolerance that is meant."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.0 if self.kind in FAULTS else self.margin

    def margin_text(self) -> str:
        """The margin as people say it."""
        if self.kind is Kind.LATENCY:
            more = f" or {self.margin_ns / 1e6:g} ms" if self.margin_ns else ""
            return f"{self.margin:.0%}{more} slower"
        points = f"{self.margin * 100:g}"
        return f"{points} percentage point{'' if points == '1' else 's'}"

    def flaw(self) -> str:
        """What is wrong with it; empty if nothing is."""
        if self.kind is Kind.ACCURACY:
            return "got guardrail accuracy, but nobody can tell labels yet: expected another signal"
        if self.kind is Kind.LATENCY:
            if self.phase is None or self.level not in LEVELS:
                return (
                    f"got latency with level {self.level} and phase {self.phase}, expected a phase and one of {LEVELS}"
                )
            if not LEAST_LATENCY_RATIO <= self.margin <= 10 or not 0 <= self.margin_ns < 3.6e12:
                return (
                    f"got a margin of {self.margin:g} and {self.margin_ns / 1e9:g} s for {self.key}, "
                    f"expected a ratio of {LEAST_LATENCY_RATIO:g} to 10 and less than an hour"
                )
        elif not 0 < self.margin <= 0.5:
            return f"got a margin of {self.margin:g} for {self.key}, expected more than 0 and at most 0.5"
        if not 0 <= self.harm_from <= max(self.margin, 0.5):
            return f"got a tolerance of {self.harm_from:g} for {self.key}, expected 0 to 0.5"
        return ""

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Guardrail:
        phase = data["phase"]
        return cls(
            **{
                **data,
                "kind": Kind(data["kind"]),
                "phase": None if phase is None else Phase(phase),
                "proof": Proof(data["proof"]),
            }
        )


_LEAST_NS = 5e6
_COMMON = (
    Guardrail(Kind.LATENCY, 0.1, _LEAST_NS, phase=Phase.TOTAL, level=0.5),
    Guardrail(Kind.LATENCY, 0.25, _LEAST_NS, phase=Phase.TOTAL, level=0.99),
    Guardrail(Kind.LATENCY, 0.1, _LEAST_NS, phase=Phase.COMPUTE_INFER, level=0.9, proof=Proof.NEVER),
    Guardrail(Kind.NONFINITE, 0.01, proof=Proof.IF_SEEN),
)
SPLIT_DEFAULTS = (
    Guardrail(Kind.ERROR_RATE, 0.01),
    *_COMMON,
    Guardrail(Kind.CONFIDENCE, 0.05, proof=Proof.IF_SEEN),
    Guardrail(Kind.CLASS_MIX, 0.1, proof=Proof.IF_SEEN),
)
"""What is guarded where nothing is said, of versions that share the traffic."""
SHADOW_DEFAULTS = (
    Guardrail(Kind.ERROR_RATE, 0.01),
    *_COMMON,
    Guardrail(Kind.PAIRED_ERRORS, 0.01, proof=Proof.IF_SEEN),
    Guardrail(Kind.DISAGREEMENT, 0.05, proof=Proof.IF_SEEN),
)
"""The same where the candidate gets copies of the baseline's requests."""


def defaults(*, is_shadow: bool, is_partial: bool) -> tuple[Guardrail, ...]:
    """What is guarded where nothing is said. ``is_partial``: by a step that isn't a rollout's last, whose few requests
    prove no tail.
    """
    found = SHADOW_DEFAULTS if is_shadow else SPLIT_DEFAULTS
    if not is_partial:
        return found
    return tuple(replace(one, proof=Proof.NEVER) if one.level == 0.99 else one for one in found)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its interval at the level of the comparison: a share, nanoseconds for latency."""

    value: float = 0.0
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Standing:
    """How a guardrail stands: requests that were compared, and e-values of harm and of safety in nats, the greatest so
    far, beside what decides.
    """

    guardrail: Guardrail
    candidate_count: int
    baseline_count: int
    harm_log_evalue: float
    harm_needed: float
    safety_log_evalue: float
    safety_needed: float

    @property
    def has_data(self) -> bool:
        return self.candidate_count > 0 and self.baseline_count > 0

    @property
    def is_harmed(self) -> bool:
        return self.harm_log_evalue >= self.harm_needed

    @property
    def is_safe(self) -> bool:
        return self.safety_log_evalue >= self.safety_needed

    @property
    def blocks(self) -> bool:
        """True while there is no promotion because of it."""
        proof = self.guardrail.proof
        is_seen = self.candidate_count > 0 or self.baseline_count > 0
        return not self.is_safe and (proof is Proof.ALWAYS or (proof is Proof.IF_SEEN and is_seen))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a guardrail. ``change_low`` and ``change_high`` bound candidate minus baseline; for latency they
    are ratios. ``p_values`` (Mann-Whitney, Kolmogorov-Smirnov) hold for one look at a fixed size and decide nothing;
    empty where they don't apply. ``detail``: what the figures are of, where that isn't clear.
    """

    standing: Standing
    candidate: Figure
    baseline: Figure
    change_low: float
    change_high: float
    p_values: tuple[float, ...] = ()
    detail: str = ""

    @property
    def guardrail(self) -> Guardrail:
        return self.standing.guardrail


def flaw_of(guardrails: Iterable[Guardrail]) -> str:
    """What is wrong with a set of guardrails; empty if nothing is."""
    known = list(guardrails)
    for guardrail in known:
        if found := guardrail.flaw():
            return found
    keys = [guardrail.key for guardrail in known]
    if doubled := next((key for key in keys if keys.count(key) > 1), ""):
        return f"got guardrail {doubled} twice"
    if not any(guardrail.proof is Proof.ALWAYS for guardrail in known):
        return "got no guardrail that always has to be proven safe, expected one or more"
    return ""
