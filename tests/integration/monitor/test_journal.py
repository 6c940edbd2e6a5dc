from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.common.errors import UnavailableError
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.journal import Journal
from tests.integration.monitor.test_incident_store import INCIDENT


async def test_while_the_database_fails_watchers_are_told_and_changes_are_stored_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/monitor.db"
    with contextlib.closing(IncidentStore(url)) as store:
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
        await watch.aclose()  # type: ignore[attr-defined]


def rename(url: str, old: str, new: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
    engine.dispose()


async def test_a_slow_watcher_gets_the_latest_state_of_each_incident_only(tmp_path: Path) -> None:
    with contextlib.closing(IncidentStore(f"sqlite:///{tmp_path}/monitor.db")) as store:
        journal = Journal(store, open_incidents=lambda: [INCIDENT])
        watch = journal.watch("digits")
        assert await anext(aiter(watch)) == INCIDENT

        for number in range(100):
            await journal.record([replace(INCIDENT, summary=str(number))])

        assert (await anext(aiter(watch))).summary == "99"
        journal.close()
        with pytest.raises(UnavailableError):
            await anext(aiter(watch))
