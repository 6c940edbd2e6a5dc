"""What a rollout may be asked for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from services.common.errors import InvalidArgumentError
from services.registry.adapters import codec
from services.registry.domain.rollout_plans import WantedPlan, WantedStep, complete
from services.registry.domain.rollouts import Strategy

S = 10**9


@pytest.mark.parametrize(
    ("strategy", "shares", "is_manual", "keep_warm_s"),
    [
        (0, [(0.05, 0), (0.25, 0), (0.5, 0)], False, 600),
        (Strategy.CANARY, [(0.05, 0), (0.25, 0), (0.5, 0)], False, 600),
        (Strategy.ALL_AT_ONCE, [], False, 0),
        (Strategy.BLUE_GREEN, [], False, 600),
        (Strategy.SHADOW, [(0, 1)], False, 600),
        (Strategy.AB_TEST, [(0.5, 0)], True, 600),
    ],
)
def test_defaults_are_written_out(
    strategy: int, shares: list[tuple[float, float]], keep_warm_s: int, *, is_manual: bool
) -> None:
    plan = complete(WantedPlan(strategy=strategy, sticky_key="user" if strategy is Strategy.AB_TEST else ""))

    assert [(one.candidate_share, one.shadow_share) for one in plan.steps] == shares
    assert (plan.is_manual, plan.keep_warm_ns) == (is_manual, keep_warm_s * S)
    assert (plan.load_duration_ns, plan.alpha, plan.pair_tolerance) == (600 * S, 0.01, 0.01)
    assert all(
        (one.min_requests, one.min_duration_ns, one.duration_ns) == (200, 10 * S, 3_600 * S) for one in plan.steps
    )


def test_what_is_asked_for_is_kept() -> None:
    steps = (
        WantedStep(shadow_share=0.5, duration_ns=5 * S),
        WantedStep(candidate_share=0.1, min_requests=9, min_duration_ns=0),
        WantedStep(candidate_share=0.1),
    )

    plan = complete(WantedPlan(steps=steps, keep_warm_ns=0, load_duration_ns=S, is_manual=True, alpha=0.05))

    assert [one.candidate_share for one in plan.steps] == [0, 0.1, 0.1]
    assert (plan.steps[0].min_duration_ns, plan.steps[1].min_duration_ns, plan.steps[1].min_requests) == (5 * S, 0, 9)
    assert (plan.keep_warm_ns, plan.load_duration_ns, plan.is_manual, plan.alpha) == (0, S, True, 0.05)


def test_a_plan_with_its_defaults_is_a_plan() -> None:
    """What a registry answers may be sent back."""
    plan = complete(WantedPlan(strategy=Strategy.AB_TEST, sticky_key="user", keep_warm_ns=0))

    sent = asdict(plan)
    again = WantedPlan(**{**sent, "steps": tuple(WantedStep(**one) for one in sent["steps"])})

    assert complete(again) == plan
    assert codec.guardrails_to_pb(plan) == []


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"strategy": 9}, "got strategy 9, expected one of ALL_AT_ONCE, BLUE_GREEN, CANARY, SHADOW, AB_TEST"),
        ({"strategy": Strategy.BLUE_GREEN, "steps": (WantedStep(candidate_share=0.1),)}, "1 steps for BLUE_GREEN"),
        ({"steps": (WantedStep(candidate_share=0.1),) * 33}, "33 steps, expected at most 32"),
        ({"steps": (WantedStep(candidate_share=1),)}, r"steps\[0\].candidate_share 1, expected a share above 0"),
        ({"steps": (WantedStep(candidate_share=-0.1),)}, r"candidate_share -0.1"),
        ({"steps": (WantedStep(candidate_share=float("nan")),)}, r"candidate_share nan"),
        ({"steps": (WantedStep(shadow_share=1.1),)}, r"shadow_share 1.1"),
        ({"steps": (WantedStep(),)}, "expected one of them"),
        ({"steps": (WantedStep(candidate_share=0.1, shadow_share=0.1),)}, "expected one of them"),
        (
            {"steps": (WantedStep(candidate_share=0.2), WantedStep(candidate_share=0.1))},
            "got candidate shares 0.2, 0.1, expected that they never fall",
        ),
        ({"steps": (WantedStep(candidate_share=0.2), WantedStep(shadow_share=0.1))}, "never fall"),
        ({"steps": (WantedStep(candidate_share=0.1, min_requests=-1),)}, "min_request_count -1"),
        ({"steps": (WantedStep(candidate_share=0.1, duration_ns=1),)}, r"steps\[0\].duration 1e-09 s, expected 1 to"),
        (
            {"steps": (WantedStep(candidate_share=0.1, duration_ns=S, min_duration_ns=2 * S),)},
            r"steps\[0\].min_duration 2 s, expected 0 to 1 s",
        ),
        ({"strategy": Strategy.AB_TEST}, "got no sticky_key, expected one for AB_TEST"),
        (
            {"strategy": Strategy.AB_TEST, "sticky_key": "a", "steps": (WantedStep(shadow_share=1),)},
            "copies for AB_TEST",
        ),
        ({"sticky_key": "User-Id"}, "got sticky_key 'User-Id', expected 1 to 64 characters of a-z"),
        ({"sticky_key": "a" * 65}, "sticky_key"),
        ({"strategy": Strategy.SHADOW, "sticky_key": "a"}, "no step with a candidate_share"),
        ({"alias": "1"}, "id '1'"),
        ({"load_duration_ns": 0}, "load_duration 0 s, expected 1 to 604800 s"),
        ({"keep_warm_ns": 8 * 86_400 * S}, "keep_warm_duration 691200 s, expected 0 to 604800 s"),
        ({"guardrails": ({},) * 17}, "17 guardrails, expected at most 16"),
        ({"alpha": 0.2}, "got alpha 0.2, expected 3e-06 to 0.1 for 3 steps"),
        ({"alpha": 2e-6}, "got alpha 2e-06"),
        ({"alpha": float("nan")}, "got alpha nan"),
        ({"pair_tolerance": -0.1}, "got pair_tolerance -0.1"),
        ({"pair_tolerance": float("nan")}, "got pair_tolerance nan"),
    ],
)
def test_bad_plans_are_refused(plan: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        complete(WantedPlan(**plan))
