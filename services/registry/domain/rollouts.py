"""Rollouts, as values: a candidate version on its way to a model's traffic.

Instants are nanoseconds of Unix time, spans nanoseconds; 0 where there is none. Enumerations have the API's numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from services.common import names
from services.registry.domain import ids

MAX_EVENTS = 200
REGISTRY = "registry"
"""Who does what no person asked for, in events and in the audit log."""

_MODEL_PART = 36
"""How much of a model's id the id of a comparison has room for, of 64 characters in all."""


class RolloutState(IntEnum):
    """Where a rollout stands."""

    LOADING = 1
    RUNNING = 2
    HELD = 3
    PROMOTED = 4
    ROLLED_BACK = 5
    FAILED = 6


ACTIVE = frozenset({RolloutState.LOADING, RolloutState.RUNNING, RolloutState.HELD})
"""States in which the versions of the deployment are the rollout's business."""


class Strategy(IntEnum):
    """How a candidate is tried."""

    ALL_AT_ONCE = 1
    BLUE_GREEN = 2
    CANARY = 3
    SHADOW = 4
    AB_TEST = 5


class Decision(IntEnum):
    """What the monitor makes of a step."""

    PROMOTE = 1
    CONTINUE = 2
    HOLD = 3
    ROLL_BACK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """Which requests the candidate gets, and what it takes to leave the step."""

    candidate_share: float = 0.0
    shadow_share: float = 0.0
    min_requests: int
    min_duration_ns: int
    duration_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How a candidate is tried, with all defaults written out."""

    strategy: Strategy
    steps: tuple[RolloutStep, ...]
    sticky_key: str
    alias: str
    is_manual: bool
    load_duration_ns: int
    keep_warm_ns: int
    guardrails: tuple[Mapping[str, Any], ...]
    """The API's messages as JSON: the monitor knows what they mean."""
    alpha: float
    pair_tolerance: float


@dataclass(frozen=True, slots=True)
class GuardrailSummary:
    """What is known of one guardrail."""

    key: str
    summary: str
    is_harmed: bool
    is_safe: bool
    is_blocking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutVerdict:
    """What the monitor said of a step. It says nothing else later if that ``is_final``."""

    decision: Decision
    reason: str
    is_final: bool = False
    guardrails: tuple[GuardrailSummary, ...] = ()
    candidate_requests: int = 0
    baseline_requests: int = 0
    verdict_time_ns: int = 0


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """Something that happened, and where the rollout stood after it."""

    event_time_ns: int
    state: RolloutState
    step: int
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A rollout as it is kept. ``candidate`` and ``baseline`` are resource names."""

    model: str
    number: int
    candidate: str
    baseline: str
    plan: RolloutPlan
    state: RolloutState = RolloutState.LOADING
    state_reason: str = ""
    step: int = 0
    step_start_ns: int = 0
    attempt: int = 0
    """How often a comparison was begun for the present step."""
    is_compared: bool = False
    """Whether a comparison decides, or guards, the present step."""
    is_guard: bool = False
    """Whether the present comparison is only there to find harm: the one before it has said its last word."""
    verdict: RolloutVerdict | None = None
    events: tuple[RolloutEvent, ...] = ()
    create_time_ns: int = 0
    update_time_ns: int = 0
    end_time_ns: int = 0
    retire_time_ns: int = 0
    """0 once the baseline of a promoted rollout is not kept for it any more."""
    creator: str = ""
    reason: str = ""
    etag: str = ""
    versions_before: tuple[str, ...] = ()
    """What the deployment had when it began."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """By instance of the candidate, how often its process had been started again when it got its first traffic."""
    unstopped: tuple[str, ...] = ()
    """Comparisons that are of no use any more, which the monitor has not been told yet."""

    @property
    def name(self) -> str:
        return names.rollout_name(self.model, str(self.number))

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def is_warm(self) -> bool:
        """Whether it is promoted, and may still be rolled back."""
        return self.state is RolloutState.PROMOTED and self.retire_time_ns > 0

    @property
    def is_open(self) -> bool:
        """Whether anything is left to be done about it."""
        return self.is_active or self.is_warm or bool(self.unstopped)

    @property
    def current_step(self) -> RolloutStep | None:
        """The step whose shares are in force."""
        is_in_force = self.state in (RolloutState.RUNNING, RolloutState.HELD) and self.plan.steps
        return self.plan.steps[self.step] if is_in_force else None

    @property
    def comparison(self) -> str:
        """The id of the monitor's comparison of the present step; empty where there is none."""
        if not self.is_compared:
            return ""
        model = self.model
        if len(model) > _MODEL_PART:
            digest = hashlib.blake2b(model.encode(), digest_size=4).hexdigest()
            model = f"{model[: _MODEL_PART - 9]}-{digest}"
        return f"{model}-{self.number}-{self.step}-{self.attempt}"

    @property
    def candidate_id(self) -> str:
        """The number of the candidate, as the monitor knows it."""
        return str(ids.parse_version(self.candidate)[1])

    @property
    def baseline_id(self) -> str:
        return str(ids.parse_version(self.baseline)[1])
