"""A few of the rollouts of ``make test-rollouts``: the registry's state machine with the monitor's verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from services.registry.domain.rollouts import RolloutState
from tests.rollouts.repetitions import FEW, is_wrong, table
from tests.rollouts.scenarios import ALIKE, SCENARIOS, WORSE, Scenario
from tests.rollouts.simulation import Outcome, Simulation
from tests.support.verdict_traffic import Trial, Version

BY_NAME = {one.name: one for one in SCENARIOS}


def outcomes(scenario: Scenario, repetitions: int) -> list[Outcome]:
    return [Simulation(scenario.trial(seed)).run(scenario.seconds) for seed in range(repetitions)]


@pytest.mark.parametrize("scenario", ALIKE[:4], ids=lambda scenario: scenario.name)
def test_an_identical_version_is_promoted_step_by_step(scenario: Scenario) -> None:
    for outcome in outcomes(scenario, 2):
        assert outcome.is_promoted, outcome.reason
        assert len(outcome.at_s) == 4, "three steps, and the end"


@pytest.mark.parametrize("scenario", WORSE[:2], ids=lambda scenario: scenario.name)
def test_wrong_weights_are_rolled_back_within_two_hundred_requests(scenario: Scenario) -> None:
    for outcome in outcomes(scenario, 5):
        assert outcome.is_rolled_back, outcome.reason
        assert outcome.requests <= FEW


def test_one_percent_of_errors_is_found_within_twice_the_floor() -> None:
    scenario = BY_NAME["errors 0.1 % to 1 %"]
    found = outcomes(scenario, 20)
    assert scenario.floor is not None
    assert all(one.is_rolled_back for one in found)
    assert np.mean([one.requests for one in found]) <= 2 * scenario.floor


def test_a_version_that_breaks_in_a_later_step_is_rolled_back_there() -> None:
    breaking = Version(error_rate=lambda t: 0.001 if t < 130 else 0.05)
    outcome = Simulation(Trial(breaking, rate=lambda _: 400.0)).run(600)
    assert outcome.is_rolled_back, outcome.reason
    assert len(outcome.at_s) > 2
    assert 130 < outcome.seconds < 150


def test_without_traffic_nothing_is_decided_and_the_step_is_held() -> None:
    outcome = Simulation(Trial(rate=lambda _: 0.0)).run(3_700)
    assert outcome.state is RolloutState.HELD
    assert "the time is up" in outcome.reason


def test_the_table_tells_what_is_wrong() -> None:
    good, bad = (Outcome(state, "", 60, 100, (0,)) for state in (RolloutState.PROMOTED, RolloutState.ROLLED_BACK))
    assert [is_wrong(ALIKE[0], one) for one in (good, bad)] == [False, True]
    assert [is_wrong(WORSE[0], one) for one in (good, bad)] == [True, False]
    assert list(table([(ALIKE[0], [good, bad])]))[-1] == (
        "| identical | 1 | 1 | 0 | 100 | 100 | 100 | 100% | – | 60 | 60 |"
    )
