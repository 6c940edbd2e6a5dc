"""What the client makes of the options of a rollout."""

from __future__ import annotations

import pytest
import typer

from penstock.cli.rollout import _shares
from penstock.monitor.v1.verdict_service_pb2 import Guardrail
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from penstock.rollouts import Strategy, plan


def test_what_is_not_said_is_left_to_the_registry() -> None:
    assert plan() == RolloutPlan(strategy=RolloutPlan.STRATEGY_CANARY)


@pytest.mark.parametrize("strategy", Strategy)
def test_every_strategy_has_its_message(strategy: Strategy) -> None:
    assert Strategy.of(plan(strategy=strategy)) is strategy


def test_every_strategy_of_the_api_has_a_name() -> None:
    assert {one.message for one in Strategy} == set(RolloutPlan.Strategy.values()) - {RolloutPlan.STRATEGY_UNSPECIFIED}
    assert Strategy.of(RolloutPlan()) is Strategy.CANARY


def test_all_that_is_said_is_in_the_plan() -> None:
    guardrail = Guardrail(signal=Guardrail.SIGNAL_ERROR_RATE, margin=0.02)
    made = plan(
        strategy="canary",
        steps=[0.1, 0.5],
        sticky_key="user",
        alias="live",
        is_manual=True,
        load_s=90,
        keep_warm_s=0,
        min_requests=300,
        min_duration_s=2.5,
        duration_s=600,
        alpha=0.05,
        guardrails=[guardrail],
        pair_tolerance=0.1,
    )
    assert [step.candidate_share for step in made.steps] == [0.1, 0.5]
    assert {step.shadow_share for step in made.steps} == {0.0}
    assert {step.min_request_count for step in made.steps} == {300}
    assert {step.min_duration.ToNanoseconds() for step in made.steps} == {2_500_000_000}
    assert {step.duration.seconds for step in made.steps} == {600}
    assert (made.sticky_key, made.alias, made.is_manual, made.alpha) == ("user", "live", True, 0.05)
    assert (made.load_duration.seconds, made.pair_tolerance, list(made.guardrails)) == (90, 0.1, [guardrail])
    assert made.HasField("keep_warm_duration")
    assert made.keep_warm_duration.seconds == 0


@pytest.mark.parametrize(
    ("strategy", "shares"), [("canary", [(0.05, 0), (0.25, 0), (0.5, 0)]), ("shadow", [(0, 1)]), ("ab", [(0.5, 0)])]
)
def test_the_registrys_steps_are_taken_where_only_their_length_is_said(
    strategy: str, shares: list[tuple[float, float]]
) -> None:
    made = plan(strategy=strategy, min_requests=1_000)
    assert [(step.candidate_share, step.shadow_share) for step in made.steps] == shares
    assert all(step.min_request_count == 1_000 and not step.HasField("duration") for step in made.steps)


@pytest.mark.parametrize("strategy", ["blue-green", "all-at-once"])
def test_what_has_no_steps_takes_none(strategy: str) -> None:
    assert not plan(strategy=strategy, is_manual=True).steps
    with pytest.raises(ValueError, match=f"{strategy} has no steps"):
        plan(strategy=strategy, steps=[0.5])
    with pytest.raises(ValueError, match=f"{strategy} has no steps"):
        plan(strategy=strategy, min_requests=7)


def test_an_unknown_strategy_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="got strategy 'big-bang', expected one of canary, shadow, blue-green"):
        plan(strategy="big-bang")


def test_percents_are_read_as_shares() -> None:
    assert _shares("5,25, 50,100") == pytest.approx([0.05, 0.25, 0.5, 1.0])
    assert _shares("") == []


@pytest.mark.parametrize("text", ["0", "5,", "5;25", "101", "-5", "nan", "inf", "half"])
def test_what_is_no_percent_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected percents"):
        _shares(text)
