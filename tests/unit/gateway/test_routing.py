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
