"""What a round found is recorded, also when the monitor is stopped in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from services.monitor.domain.incidents import Incident
from services.monitor.journal import Journal
from services.monitor.rounds import JUDGE_PERIOD_S, Rounds
from tests.support.monitor_database import incident_store, url_of
from tests.unit.monitor.test_alerts import INCIDENT


def judged() -> Iterator[list[Incident]]:
    yield [INCIDENT]
    while True:
        yield []


async def test_what_was_found_before_the_end_is_stored(tmp_path: Path) -> None:
    with incident_store(url_of(tmp_path)) as store:
        journal = Journal(store, open_incidents=list)
        analysis: Any = SimpleNamespace(judge=judged)
        nothing: Any = None
        rounds = Rounds(
            analysis=analysis,
            arrivals=nothing,
            verdicts=nothing,
            feedback=nothing,
            store=store,
            journal=journal,
            clock=lambda: 0,
        )
        running = asyncio.create_task(rounds.run())
        await asyncio.sleep(JUDGE_PERIOD_S + 0.1)

        running.cancel()
        await asyncio.wait([running])

        assert store.get(INCIDENT.incident_id) == INCIDENT
