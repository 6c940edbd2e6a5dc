"""What a rollout may be asked for, and what it is where nothing is asked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.common import names
from services.common.errors import InvalidArgumentError
from services.registry.domain.limits import MAX_WORDS
from services.registry.domain.rollouts import RolloutPlan, RolloutStep, Strategy

MAX_STEPS = 32
MAX_GUARDRAILS = 16
MIN_ALPHA, ALPHA, MAX_ALPHA = 1e-6, 0.01, 0.1
PAIR_TOLERANCE = 0.01

_NS = 10**9
_MINUTE_NS, _DAY_NS = 60 * _NS, 86_400 * _NS
LOAD_NS, MAX_LOAD_NS = 10 * _MINUTE_NS, 7 * _DAY_NS
KEEP_WARM_NS, MAX_KEEP_WARM_NS = 10 * _MINUTE_NS, 7 * _DAY_NS
MIN_REQUESTS = 200
MIN_DURATION_NS = 10 * _NS
STEP_NS, MAX_STEP_NS = 60 * _MINUTE_NS, 31 * _DAY_NS

_STICKY_KEY = re.compile(r"[a-z0-9_.-]{1,64}")

_PRESETS: Mapping[Strategy, tuple[tuple[float, float], ...]] = {
    Strategy.ALL_AT_ONCE: (),
    Strategy.BLUE_GREEN: (),
    Strategy.CANARY: ((0.05, 0.0), (0.25, 0.0), (0.5, 0.0)),
    Strategy.SHADOW: ((0.0, 1.0),),
    Strategy.AB_TEST: ((0.5, 0.0),),
}
"""Shares of requests and of copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedStep:
    """A step as a caller asks for it; 0 requests, and None, take the default."""

    candidate_share: float = 0.0
    shadow_share: float = 0.0
    min_requests: int = 0
    min_duration_ns: int | None = None
    duration_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPlan:
    """A plan as a caller asks for it; 0, an empty text, and None take the default."""

    strategy: int = 0
    steps: tuple[WantedStep, ...] = ()
    sticky_key: str = ""
    alias: str = ""
    is_manual: bool = False
    load_duration_ns: int | None = None
    keep_warm_ns: int | None = None
    guardrails: tuple[Mapping[str, Any], ...] = ()
    alpha: float = 0.0
    pair_tolerance: float = 0.0


def complete(wanted: WantedPlan) -> RolloutPlan:
    """The plan with its defaults written out.

    Raises:
        InvalidArgumentError: with what was got and what was expected.
    """
    strategy = _strategy(wanted.strategy)
    steps = _steps(strategy, wanted.steps)
    _check_key(strategy, wanted.sticky_key, steps)
    if wanted.alias:
        names.alias_id(wanted.alias)
    if len(wanted.guardrails) > MAX_GUARDRAILS:
        raise InvalidArgumentError(f"got {len(wanted.guardrails)} guardrails, expected at most {MAX_GUARDRAILS}")
    if not math.isfinite(wanted.pair_tolerance) or not 0 <= wanted.pair_tolerance <= 1:
        raise InvalidArgumentError(f"got pair_tolerance {wanted.pair_tolerance:g}, expected 0 to 1, 0 for the default")
    at_once = strategy is Strategy.ALL_AT_ONCE
    return RolloutPlan(
        strategy=strategy,
        steps=steps,
        sticky_key=wanted.sticky_key,
        alias=wanted.alias,
        is_manual=wanted.is_manual or strategy is Strategy.AB_TEST,
        load_duration_ns=_span("load_duration", wanted.load_duration_ns, LOAD_NS, least=_NS, most=MAX_LOAD_NS),
        keep_warm_ns=_span(
            "keep_warm_duration", wanted.keep_warm_ns, 0 if at_once else KEEP_WARM_NS, least=0, most=MAX_KEEP_WARM_NS
        ),
        guardrails=wanted.guardrails,
        alpha=_alpha(wanted.alpha, len(steps)),
        pair_tolerance=wanted.pair_tolerance or PAIR_TOLERANCE,
    )


def check_words(reason: str) -> str:
    """Check why somebody does something, which may be left out."""
    if len(reason) > MAX_WORDS or "\0" in reason:
        raise InvalidArgumentError(
            f"got a reason of {len(reason)} characters, expected at most {MAX_WORDS} and none of them NUL"
        )
    return reason


def _strategy(number: int) -> Strategy:
    if number == 0:
        return Strategy.CANARY
    if number not in Strategy._value2member_map_:
        raise InvalidArgumentError(f"got strategy {number}, expected one of {', '.join(Strategy.__members__)}")
    return Strategy(number)


def _steps(strategy: Strategy, wanted: Sequence[WantedStep]) -> tuple[RolloutStep, ...]:
    presets = _PRESETS[strategy]
    if wanted and not presets:
        raise InvalidArgumentError(f"got {len(wanted)} steps for {strategy.name}, which has none")
    if len(wanted) > MAX_STEPS:
        raise InvalidArgumentError(f"got {len(wanted)} steps, expected at most {MAX_STEPS}")
    asked = wanted or [WantedStep(candidate_share=share, shadow_share=copies) for share, copies in presets]
    steps = tuple(_step(f"steps[{number}]", one) for number, one in enumerate(asked))
    shares = [step.candidate_share for step in steps]
    if shares != sorted(shares):
        listed = ", ".join(f"{share:g}" for share in shares)
        raise InvalidArgumentError(f"got candidate shares {listed}, expected that they never fall from step to step")
    if strategy is Strategy.AB_TEST and not all(shares):
        raise InvalidArgumentError("got a step with copies for AB_TEST, expected a candidate_share in each")
    return steps


def _step(what: str, wanted: WantedStep) -> RolloutStep:
    share, copies = wanted.candidate_share, wanted.shadow_share
    if not 0 <= share < 1:
        raise InvalidArgumentError(
            f"got {what}.candidate_share {share:g}, expected a share above 0 and below 1 (promotion is what 1 would be)"
        )
    if not 0 <= copies <= 1:
        raise InvalidArgumentError(f"got {what}.shadow_share {copies:g}, expected a share above 0, at most 1")
    if bool(share) is bool(copies):
        raise InvalidArgumentError(
            f"got {what} with candidate_share {share:g} and shadow_share {copies:g}, expected one of them"
        )
    if wanted.min_requests < 0:
        raise InvalidArgumentError(f"got {what}.min_request_count {wanted.min_requests}, expected 0 or more")
    duration_ns = _span(f"{what}.duration", wanted.duration_ns, STEP_NS, least=_NS, most=MAX_STEP_NS)
    return RolloutStep(
        candidate_share=share,
        shadow_share=copies,
        min_requests=wanted.min_requests or MIN_REQUESTS,
        min_duration_ns=_span(
            f"{what}.min_duration", wanted.min_duration_ns, min(MIN_DURATION_NS, duration_ns), least=0, most=duration_ns
        ),
        duration_ns=duration_ns,
    )


def _check_key(strategy: Strategy, key: str, steps: Sequence[RolloutStep]) -> None:
    if not key:
        if strategy is Strategy.AB_TEST:
            raise InvalidArgumentError("got no sticky_key, expected one for AB_TEST")
        return
    if _STICKY_KEY.fullmatch(key) is None:
        raise InvalidArgumentError(
            f"got sticky_key {key[:80]!r}, expected 1 to 64 characters of a-z, 0-9, '_', '.' and '-'"
        )
    if not any(step.candidate_share for step in steps):
        raise InvalidArgumentError(f"got sticky_key {key!r} and no step with a candidate_share, expected one")


def _alpha(alpha: float, steps: int) -> float:
    found = alpha or ALPHA
    least = MIN_ALPHA * max(1, steps)
    if not least <= found <= MAX_ALPHA:
        raise InvalidArgumentError(f"got alpha {found:g}, expected {least:g} to {MAX_ALPHA:g} for {steps} steps")
    return found


def _span(what: str, ns: int | None, default: int, *, least: int, most: int) -> int:
    found = default if ns is None else ns
    if not least <= found <= most:
        raise InvalidArgumentError(f"got {what} {found / _NS:g} s, expected {least / _NS:g} to {most / _NS:g} s")
    return found
