from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.common.errors import UnavailableError
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.domain.incidents import Incident
from services.monitor.journal import Journal
from tests.integration.monitor.test_incident_store import INCIDENT
from tests.support.monitor_database import incident_store, url_of
from tests.support.monitor_process import batch_span, monitor


async def test_while_the_database_fails_watchers_are_told_and_changes_are_stored_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = url_of(tmp_path)
    with incident_store(url) as store:
        journal = Journal(store, open_incidents=list)
        watch = journal.watch("")
        told = asyncio.create_task(anext(aiter(watch)))
        await asyncio.sleep(0)
        rename(url, "incidents", "away")

        await journal.record([INCIDENT])

        assert await told == INCIDENT
        assert "could not save incident" in caplog.text
        rename(url, "away", "incidents")
        assert store.get(INCIDENT.incident_id) is None
        await journal.record([])
        assert store.get(INCIDENT.incident_id) == INCIDENT
        await watch.aclose()


async def test_the_database_is_tried_once_a_second_whatever_the_number_of_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    def save(_store: IncidentStore, _incident: Incident) -> None:
        nonlocal attempts
        attempts += 1
        raise UnavailableError("it is away")

    monkeypatch.setattr(IncidentStore, "save", save)
    async with monitor(tmp_path) as running:
        for second in range(16):
            running.clock.skip(1)
            now_ns = running.clock()
            await running.send(*(
                batch_span(end_ns=now_ns, version=str(version), status=[13 if version == 1 else 0])
                for version in range(1, 41)
            ))  # fmt: skip
            await asyncio.sleep(0.01 * (second + 1))
        async with asyncio.timeout(10):
            while not attempts:  # noqa: ASYNC110 - made in another thread
                await asyncio.sleep(0.01)
        await asyncio.sleep(2)

        assert attempts < 10


async def test_a_question_while_the_database_fails_is_answered_with_unavailable(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        rename(url_of(tmp_path), "incidents", "away")

        for question in (
            running.api.ListIncidents(pb.ListIncidentsRequest()),
            running.api.GetIncident(pb.GetIncidentRequest(name=f"incidents/{INCIDENT.incident_id}")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await question
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def rename(url: str, old: str, new: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
    engine.dispose()


async def test_a_slow_watcher_gets_the_latest_state_of_each_incident_only(tmp_path: Path) -> None:
    with incident_store(url_of(tmp_path)) as store:
        journal = Journal(store, open_incidents=lambda: [INCIDENT])
        watch = journal.watch("digits")
        assert await anext(aiter(watch)) == INCIDENT

        for number in range(100):
            await journal.record([replace(INCIDENT, summary=str(number))])

        assert (await anext(aiter(watch))).summary == "99"
        journal.close()
        with pytest.raises(UnavailableError):
            await anext(aiter(watch))


async def test_an_incident_that_no_database_can_hold_is_named_and_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with incident_store(url_of(tmp_path)) as store:
        journal = Journal(store, open_incidents=list)

        await journal.record([replace(INCIDENT, incident_id="odd", change_ns=2**64), INCIDENT])
        await journal.record([])

        assert store.get(INCIDENT.incident_id) == INCIDENT
        assert caplog.text.count("incident odd can't be stored, ever") == 1


async def test_what_is_found_is_told_and_judging_goes_on_while_the_database_hangs(
    tmp_path: Path, eventually: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
) -> None:
    async with monitor(tmp_path) as running:
        watch = running.api.WatchIncidents(pb.WatchIncidentsRequest())
        await watch.initial_metadata()
        with contextlib.closing(sqlite3.connect(tmp_path / "monitor.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for version in ("1", "2"):
                await running.serve_seconds(16, version=version, status=(13,) * 8)
                async with asyncio.timeout(4):  # less than SQLite waits for the lock
                    assert (await watch.read()).incident.version == version
            other.execute("ROLLBACK")

        async def are_stored() -> bool:
            return len((await running.api.ListIncidents(pb.ListIncidentsRequest())).incidents) == 2

        assert await eventually(are_stored)
        watch.cancel()
