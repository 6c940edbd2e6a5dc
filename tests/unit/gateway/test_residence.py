"""Requests for versions that are asleep: taken, told of, refused where they would wait for nothing."""

from __future__ import annotations

import pytest

from penstock.registry.v1.registry_service_pb2 import ReportDemandRequest, VersionDemand
from services.common.errors import UnavailableError
from services.gateway.adapters.demand_reporter import DemandReporter
from services.gateway.domain.lane import Lane
from tests.unit.gateway.requests import served

GRACE_S = 10.0


class Stage:
    """A lane and what tells of it; ``other`` is a lane that is asleep and stays so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lane = Lane(served(), now=self.now)
        self.other = Lane(served(model="other"), now=self.now)
        self.other.residence.note(is_asleep=True)
        self.reporter = DemandReporter("g", lambda: [self.lane, self.other], clock=lambda: self.now)

    def check(self) -> None:
        tier = self.lane.tiers[0]
        share = tier.shares.get("a") or tier.shares.make("a", now=self.now)
        self.lane.check_admits(tier, share, rows=1, timeout_s=60.0, now=self.now, grace_s=GRACE_S)

    def report(self) -> dict[str, tuple[int, float]] | None:
        """Requests and idle seconds by version, as the registry has heard it."""
        request = self.reporter.look(self.now)
        if request is None:
            return None
        self.reporter.note_told(self.now)
        return {
            one.version: (one.unsettled_requests, one.idle_duration.ToMilliseconds() / 1e3) for one in request.demands
        }


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_version_that_is_asleep_takes_requests_however_long_that_lasts(stage: Stage) -> None:
    stage.lane.residence.note(is_asleep=True)
    stage.now += 3600
    assert stage.lane.takes_requests
    stage.check()

    stage.lane.residence.note()
    stage.now += 3600
    assert stage.lane.takes_requests, "it loads"
    stage.check()
    assert stage.lane.statistics.cold_start_seconds.total == 0.0

    stage.lane.note_process(now=stage.now)
    assert stage.lane.statistics.cold_start_seconds.total == 3600
    stage.lane.residence.note(is_ready=True)
    stage.lane.observe_consumers(1, now=stage.now)
    stage.lane.observe_consumers(0, now=stage.now)
    stage.now += GRACE_S + 1
    assert not stage.lane.takes_requests
    with pytest.raises(UnavailableError, match="no live process"):
        stage.check()


def test_a_process_that_is_still_seen_as_it_goes_to_sleep_ends_no_waiting(stage: Stage) -> None:
    stage.lane.residence.note(is_asleep=True)
    stage.lane.observe_consumers(1, now=stage.now)
    stage.lane.residence.note()
    stage.lane.observe_consumers(0, now=stage.now)
    stage.now += GRACE_S + 1
    stage.check()


def test_one_that_does_not_load_says_why_until_it_does(stage: Stage) -> None:
    stage.lane.residence.note(is_asleep=True)
    stage.lane.residence.note(failure="out of memory")

    assert stage.lane.residence.has_failed
    assert not stage.lane.takes_requests
    with pytest.raises(UnavailableError, match="was asleep and does not load: out of memory") as caught:
        stage.check()
    assert (caught.value.reason, bool(caught.value.retry_after_s)) == ("LOAD_FAILED", True)

    stage.lane.residence.note()
    stage.check()


def test_one_that_served_and_crashes_keeps_its_requests(stage: Stage) -> None:
    stage.lane.observe_consumers(1, now=stage.now)
    stage.lane.observe_consumers(0, now=stage.now)
    stage.lane.residence.note(failure="poison")
    assert not stage.lane.residence.has_failed
    stage.check()


def test_while_nothing_sleeps_nothing_is_told(stage: Stage) -> None:
    stage.other.residence.note()
    stage.lane.observe_consumers(1, now=stage.now)
    stage.lane.unsettled = 3
    assert stage.report() is None

    stage.now += 5
    stage.lane.unsettled = 0
    assert stage.report() is None
    stage.now += 2
    stage.other.residence.note(is_asleep=True)
    assert stage.report() == {"models/m/versions/1": (0, 7.0)}, "what was used before counts as well"


def test_what_has_requests_is_told_again_and_what_had_some_once_more(stage: Stage) -> None:
    stage.lane.observe_consumers(1, now=stage.now)
    stage.lane.unsettled = 2
    for _ in range(3):
        stage.now += 0.5
        assert stage.report() == {"models/m/versions/1": (2, 0.0)}

    stage.lane.unsettled = 0
    stage.lane.statistics.success.count += 2
    stage.now += 0.5
    assert stage.report() == {"models/m/versions/1": (0, 0.0)}
    stage.now += 0.5
    assert stage.report() is None


def test_requests_for_what_nobody_serves_are_told_whether_it_sleeps_or_not(stage: Stage) -> None:
    stage.other.residence.note()
    stage.lane.unsettled = 1
    assert stage.report() == {"models/m/versions/1": (1, 0.0)}


def test_a_report_is_what_the_registry_expects(stage: Stage) -> None:
    stage.lane.unsettled = 1
    expected = VersionDemand(version="models/m/versions/1", unsettled_requests=1)
    expected.idle_duration.FromNanoseconds(0)
    assert stage.reporter.look(stage.now) == ReportDemandRequest(gateway_id="g", demands=[expected])
