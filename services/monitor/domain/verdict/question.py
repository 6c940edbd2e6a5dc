"""What is asked of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from services.monitor.domain.blocks import NS
from services.monitor.domain.verdict.guardrails import Guardrail, flaw_of
from services.monitor.domain.verdict.rates import Stakes

MAX_GUARDRAILS = 16
MAX_HOURS = 24 * 31


class Mode(StrEnum):
    SPLIT = "split"
    """Each request goes to one of the versions."""
    SHADOW = "shadow"
    """The candidate gets copies of the baseline's requests."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``weight``: the candidate's share of all requests (split), or the share of the baseline's that is
    copied (shadow); 0 where nothing is configured. ``alpha``: risk of rolling back a version that is no worse, and of
    promoting one that is worse by a margin or more. ``is_drawn``: a rollout sends requests to either version, and the
    split is checked by these alone. Times in Unix ns.
    """

    comparison_id: str
    model: str
    candidate: str
    baseline: str
    mode: Mode
    weight: float
    start_ns: int
    deadline_ns: int
    min_requests: int
    min_seconds: int
    alpha: float
    guardrails: tuple[Guardrail, ...]
    is_drawn: bool = False

    @property
    def share(self) -> float | None:
        """The candidate's share of both versions' requests."""
        if not self.weight:
            return None
        return self.weight if self.mode is Mode.SPLIT else self.weight / (1.0 + self.weight)

    def stakes(self) -> Stakes:
        return Stakes(
            harm_needed=math.log(len(self.guardrails) / self.alpha),
            safety_needed=math.log(1 / self.alpha),
            horizon=max(1, (self.deadline_ns - self.start_ns) // NS),
            alpha=self.alpha,
        )

    def flaw(self) -> str:
        """What is wrong with it; empty if nothing is."""
        length_s = (self.deadline_ns - self.start_ns) / NS
        most = 1.0 if self.mode is Mode.SHADOW else 1.0 - 1e-9
        checks = (
            (self.candidate != self.baseline, f"got version {self.candidate} twice, expected two versions"),
            (0 <= self.weight <= most, f"got weight {self.weight:g}, expected 0 (not configured) to less than all"),
            (
                1 <= length_s <= MAX_HOURS * 3_600,
                f"got a deadline {length_s:g} s after the start, expected 1 s to 31 days",
            ),
            (1e-6 <= self.alpha <= 0.1, f"got alpha {self.alpha:g}, expected 0.000001 to 0.1"),
            (self.min_requests >= 1, f"got at least {self.min_requests} requests, expected 1 or more"),
            (self.min_seconds >= 0, f"got at least {self.min_seconds} s, expected 0 or more"),
            (
                1 <= len(self.guardrails) <= MAX_GUARDRAILS,
                f"got {len(self.guardrails)} guardrails, expected 1 to {MAX_GUARDRAILS}",
            ),
        )
        return next((text for is_sound, text in checks if not is_sound), "") or flaw_of(self.guardrails)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Question:
        guardrails = tuple(Guardrail.load(one) for one in data["guardrails"])
        return cls(**{**data, "mode": Mode(data["mode"]), "guardrails": guardrails})
