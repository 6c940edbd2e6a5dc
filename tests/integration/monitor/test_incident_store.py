"""The store on each database that it is made for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.common.errors import InvalidArgumentError
from services.monitor.adapters import database
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Cause, Phase, Severity, Signal
from tests.support.monitor_database import incident_store, url_of
from tests.support.postgresql import PostgresqlUnavailableError, running_postgresql

INCIDENT = Incident(
    incident_id=f"{1:020x}",
    model="digits",
    version="3",
    signal=Signal.LATENCY,
    phase=Phase.COMPUTE_INFER,
    summary="Compute infer of digits version 3 became slower: median rose from 5 ms to 10 µs.",
    before=0.005,
    after=0.010,
    change_ns=2**62 + 1,
    open_ns=2**62 + 2,
    log_evalue=19.5,
    average_run_length=1.2096e8,
    traces=("ab" * 16, "cd" * 16),
    innocent_traces=("ef" * 16,),
    replica="node.1@5.ab",
    arm="canary",
    cause=Cause.REPLICA,
    severity=Severity.TICKET,
    after_low=0.009,
    after_high=0.011,
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield url_of(tmp_path)
        return
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgresql())
        except PostgresqlUnavailableError as error:
            pytest.skip(str(error))
        yield stack.enter_context(server.database())


@pytest.fixture
def store(url: str) -> Iterator[IncidentStore]:
    with incident_store(url) as one:
        yield one


def test_incidents_and_references_are_kept(store: IncidentStore, url: str) -> None:
    errors = replace(INCIDENT, incident_id=f"{2:020x}", model="other", signal=Signal.ERROR_RATE, phase=None, traces=())
    store.save(INCIDENT)
    store.save(errors)
    closed = replace(INCIDENT, close_ns=2**62 + 9, summary="It is over.")
    store.save(closed)
    store.save_references({("digits", "3"): {"errors": [1, 2, 3.5]}, ("digits", "4"): {}}, now_ns=2**62)

    with incident_store(url) as again:
        assert again.get(INCIDENT.incident_id) == closed
        assert again.get("0" * 20) is None
        assert again.newest(model="", is_open=False, before="", limit=10) == [errors, closed]
        assert again.newest(model="digits", is_open=False, before="", limit=10) == [closed]
        assert again.newest(model="", is_open=True, before="", limit=10) == [errors]
        assert again.newest(model="", is_open=False, before=errors.incident_id, limit=10) == [closed]
        assert again.references(since_ns=2**62) == {("digits", "3"): {"errors": [1, 2, 3.5]}, ("digits", "4"): {}}
        assert again.references(since_ns=2**62 + 1) == {}
    store.save_references({}, now_ns=2**62)
    assert store.references(since_ns=0) == {}


def test_a_database_of_an_earlier_release_is_gone_on_with(url: str) -> None:
    added = ("innocent_traces", "replica", "arm", "cause", "severity", "after_low", "after_high")
    with incident_store(url) as store:
        store.save(INCIDENT)
    engine = sa.create_engine(database.driver_url(url))
    with engine.begin() as connection:
        for column in added:
            connection.execute(sa.text(f"ALTER TABLE incidents DROP COLUMN {column}"))
    engine.dispose()

    with incident_store(url) as again:
        (kept,) = again.newest(model="", is_open=False, before="", limit=10)
        again.save(INCIDENT)
        assert again.get(INCIDENT.incident_id) == INCIDENT
    assert (kept.summary, kept.arm, kept.cause, kept.after_low) == (INCIDENT.summary, "stable", Cause.VERSION, None)


def test_old_incidents_leave_open_ones_stay(store: IncidentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.monitor.adapters.incident_store.KEPT_INCIDENTS", 3)
    for number in range(1, 8):
        store.save(replace(INCIDENT, incident_id=f"{number:020x}", close_ns=None if number == 2 else 1))

    kept = [int(one.incident_id, 16) for one in store.newest(model="", is_open=False, before="", limit=10)]

    assert kept == [7, 6, 5, 2]


def test_references_of_some_versions_are_replaced_beside_the_others(store: IncidentStore) -> None:
    store.save_references({("digits", "1"): {"a": 1}, ("digits", "2"): {"a": 2}}, now_ns=2**62)

    store.save_references({("digits", "2"): {"a": 3}, ("x" * 257, "1"): {}}, now_ns=2**62 + 1, keeps_others=True)

    assert store.references(since_ns=0) == {("digits", "1"): {"a": 1}, ("digits", "2"): {"a": 3}}
    assert store.references(since_ns=2**62 + 1) == {("digits", "2"): {"a": 3}}


def test_incidents_that_ended_of_late_come_last_one_first(store: IncidentStore) -> None:
    for number, close_ns in enumerate((30, None, 10, 20)):
        store.save(replace(INCIDENT, incident_id=f"{number:020x}", close_ns=close_ns))

    assert [one.close_ns for one in store.ended(since_ns=20, limit=9)] == [30, 20]
    assert [one.close_ns for one in store.ended(since_ns=0, limit=1)] == [30]


@pytest.mark.parametrize("changed", [{"change_ns": 2**64}, {"replica": "\ud800"}], ids=["number", "text"])
def test_what_the_database_will_never_take_is_told_from_a_failure(
    store: IncidentStore, changed: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match="can't hold these values"):
        store.save(replace(INCIDENT, **changed))
