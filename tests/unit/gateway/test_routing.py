from __future__ import annotations

import pytest

from services.common.errors import NotFoundError, UnavailableError
from services.gateway.domain.lane import Lane
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from tests.unit.gateway.requests import served

LANES = {version: Lane(served(version=version), now=0.0) for version in ("1", "3")}
TABLE = RoutingTable({"m": ModelRoutes(LANES, {"production": "1", "old": "2"})})


@pytest.mark.parametrize(("asked", "version"), [("", "3"), ("1", "1"), ("3", "3"), ("production", "1")])
def test_versions_by_number_alias_and_default(asked: str, version: str) -> None:
    assert TABLE.resolve("m", asked).version.version == version


@pytest.mark.parametrize(
    ("asked", "why"), [("2", ""), ("old", " (the alias stands for 2, which is not deployed)"), ("nobody", "")]
)
def test_a_version_that_is_not_deployed(asked: str, why: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        TABLE.resolve("m", asked)
    assert caught.value.message == (
        f"Request for unknown model: 'm' version '{asked}' is not found{why}; "
        "deployed versions and aliases: 1, 3, production"
    )
    assert caught.value.reason == "VERSION_NOT_FOUND"


def test_an_unknown_model() -> None:
    with pytest.raises(NotFoundError, match="Request for unknown model: 'n' is not found; deployed models: 'm'"):
        TABLE.resolve("n", "")


def test_before_the_registry_was_heard_nothing_is_unknown() -> None:
    with pytest.raises(UnavailableError):
        RoutingTable({}, is_complete=False).resolve("m", "")


def test_a_lane_takes_requests_until_its_grace_is_over() -> None:
    lane = Lane(served(), now=100.0)
    lane.check_takes_requests(now=110.0, grace_s=10.0)
    with pytest.raises(UnavailableError, match="model 'm' version 1 has no live process"):
        lane.check_takes_requests(now=110.1, grace_s=10.0)
    lane.observe_consumers(2, now=120.0)
    lane.check_takes_requests(now=200.0, grace_s=10.0)
    lane.observe_consumers(0, now=200.0)
    assert not lane.is_live
    lane.observe_consumers(0, now=205.0)
    lane.check_takes_requests(now=210.0, grace_s=10.0)
    with pytest.raises(UnavailableError):
        lane.check_takes_requests(now=210.1, grace_s=10.0)


def test_a_full_lane_refuses() -> None:
    lane = Lane(served(max_queue_size=2), now=0.0)
    lane.unsettled = 2
    with pytest.raises(
        UnavailableError, match=r"Exceeds maximum queue size: .* has 2 requests .*, expected less than 2"
    ):
        lane.check_takes_requests(now=0.0, grace_s=10.0)
