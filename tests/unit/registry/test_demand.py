"""What counts of what gateways say that they have requests for, and for how long."""

from __future__ import annotations

import pytest

from services.common.errors import InvalidArgumentError
from services.registry.domain.demand import Demand, VersionDemand
from services.registry.domain.fleet import Use

S = 10**9
V = "models/m/versions/1"
W = "models/n/versions/1"


class Stage:
    def __init__(self) -> None:
        self.now_ns = 100 * S
        self.demand = Demand(lambda: self.now_ns)

    def note(self, gateway: str = "g", *, version: str = V, unsettled: int = 0, idle_s: float = 0.0) -> bool:
        return self.demand.note(gateway, [VersionDemand(version, unsettled, int(idle_s * S))])

    def use(self, version: str = V) -> Use:
        return self.demand.uses().get(version, Use())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_requests_of_all_gateways_count_together_and_the_last_use_of_any(stage: Stage) -> None:
    stage.note("g", unsettled=2)
    stage.note("h", unsettled=3, idle_s=5.0)
    assert stage.use() == Use(unsettled=5, idle_s=0.0)
    stage.now_ns += 2 * S
    stage.note("h", idle_s=2.0)
    assert stage.use() == Use(unsettled=2, idle_s=2.0)


def test_a_gateway_that_says_nothing_more_has_no_requests(stage: Stage) -> None:
    stage.note(unsettled=2)
    stage.now_ns += 3 * S
    assert stage.use() == Use(unsettled=0, idle_s=3.0)


def test_a_version_that_runs_nowhere_is_asked_for_from_its_first_request_on(stage: Stage) -> None:
    assert not stage.note(unsettled=1), "it runs"
    stage.demand.note_homeless([V])
    stage.now_ns += S
    assert stage.note(unsettled=1)
    assert not stage.note("h", unsettled=1), "that is known"
    stage.now_ns += S
    assert stage.use().asked_s == 1.0
    assert stage.use(W).asked_s is None

    stage.demand.note_homeless([])
    assert stage.use().asked_s is None


def test_one_that_is_put_to_sleep_with_requests_is_asked_for_from_then_on(stage: Stage) -> None:
    stage.note(unsettled=1)
    stage.now_ns += S
    stage.demand.note_homeless([V])
    assert stage.use().asked_s == 0.0
    stage.now_ns += S
    assert stage.use().asked_s == 1.0


def test_who_asked_and_left_is_remembered_for_a_while(stage: Stage) -> None:
    stage.demand.note_homeless([V])
    stage.now_ns += S
    stage.note(unsettled=1)
    stage.note(unsettled=0)
    stage.now_ns += 4 * S
    assert stage.use().asked_s == 4.0
    stage.now_ns += S
    assert stage.use().asked_s is None
    assert stage.use().idle_s == 5.0


def test_a_use_from_before_it_went_to_sleep_asks_for_nothing(stage: Stage) -> None:
    stage.now_ns += S
    stage.demand.note_homeless([V])
    assert not stage.note(idle_s=1.0)
    assert stage.use() == Use(idle_s=1.0)


def test_what_was_used_an_hour_ago_is_forgotten(stage: Stage) -> None:
    stage.note()
    stage.now_ns += 3600 * S
    assert stage.demand.uses() == {}


@pytest.mark.parametrize(
    ("gateway", "demand", "said"),
    [
        ("", VersionDemand(V, 0, 0), "got a gateway_id of 0 characters"),
        ("g" * 65, VersionDemand(V, 0, 0), "got a gateway_id of 65 characters"),
        ("g", VersionDemand("models/m", 0, 0), "models/m"),
        ("g", VersionDemand(V, -1, 0), "got -1 unsettled_requests"),
    ],
)
def test_reports_that_make_no_sense_are_refused(stage: Stage, gateway: str, demand: VersionDemand, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        stage.demand.note(gateway, [demand])
    assert stage.demand.uses() == {}
