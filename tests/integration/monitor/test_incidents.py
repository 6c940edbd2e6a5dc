"""Incidents through the real thing: raised, watched, closed, kept over a restart."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.common.logs import EcsFormatter
from tests.support.monitor_database import incident_store, url_of
from tests.support.monitor_process import Clock, RunningMonitor, monitor

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
Incident = pb.Incident

FAILING = {"status": (0, 13, 13, 0, 13, 13, 13, 13)}
SLOW = {"infer_ns": 12_000_000}


async def incidents(running: RunningMonitor, **question: Any) -> list[Incident]:
    return list((await running.api.ListIncidents(pb.ListIncidentsRequest(**question))).incidents)


async def test_a_failing_version_raises_one_incident_that_is_watched_logged_and_closed(
    running: RunningMonitor, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    watch = running.api.WatchIncidents(pb.WatchIncidentsRequest(model="digits"))
    await watch.initial_metadata()
    await running.serve_seconds(40)
    with caplog.at_level(logging.WARNING, "services.monitor.journal"):
        await running.serve_seconds(16, **FAILING)
        opened = (await watch.read()).incident

        assert (opened.state, opened.signal, opened.phase) == (
            Incident.STATE_OPEN, Incident.SIGNAL_ERROR_RATE, pb.PHASE_UNSPECIFIED,
        )  # fmt: skip
        assert (opened.model, opened.version) == ("digits", "1")
        assert opened.before < 0.05
        assert opened.after == pytest.approx(0.75)
        assert opened.average_run_length == pytest.approx(1.2096e8)
        assert opened.log_evalue > 18
        assert opened.open_time.seconds - 20 <= opened.change_time.seconds <= opened.open_time.seconds
        assert "Errors of digits version 1 rose from at most" in opened.summary
        assert await incidents(running, model="digits", is_open=True) == [opened]
        got = await running.api.GetIncident(pb.GetIncidentRequest(name=opened.name))
        assert got.incident == opened

        await running.serve_seconds(48)
        closed = (await watch.read()).incident
    assert (closed.name, closed.state) == (opened.name, Incident.STATE_CLOSED)
    assert "back to normal" in closed.summary
    assert await incidents(running, is_open=True) == []
    assert await incidents(running) == [closed]
    watch.cancel()

    lines = [json.loads(EcsFormatter("penstock-monitor").format(record)) for record in caplog.records]
    assert [(line["log.level"], line["message"], line["event.id"]) for line in lines] == [
        ("warning", incident.summary, incident.name.removeprefix("incidents/")) for incident in (opened, closed)
    ]


async def test_a_slow_model_is_blamed_for_all_that_it_slows(running: RunningMonitor, eventually: Eventually) -> None:
    """Compute, queue and total rise together; the incident names the model, and traces that show it can be fetched."""
    await running.serve_seconds(48)
    await running.serve_seconds(40, infer_ns=90_000_000, wait_us=80_000)

    async def settled() -> list[Incident]:
        return [one for one in await incidents(running) if one.phase == pb.PHASE_COMPUTE_INFER]

    (incident,) = await eventually(settled)
    assert incident.signal == Incident.SIGNAL_LATENCY
    assert incident.before == pytest.approx(0.005, rel=0.05)
    assert incident.after == pytest.approx(0.090, rel=0.05)
    assert 1 <= len(incident.traces) <= 5
    for name in incident.traces:
        shown = (await running.api.GetTrace(pb.GetTraceRequest(name=name))).trace
        assert (shown.model, shown.spans[0].operation) == ("digits", "batch digits")
        assert shown.spans[0].attributes["penstock.compute.infer_ns"] == "90000000"
    assert len(await incidents(running)) == 1


async def test_a_watch_begins_with_what_is_open(running: RunningMonitor, eventually: Eventually) -> None:
    await running.serve_seconds(16, **FAILING)
    (opened,) = await eventually(lambda: incidents(running))

    watch = running.api.WatchIncidents(pb.WatchIncidentsRequest())
    of_another = running.api.WatchIncidents(pb.WatchIncidentsRequest(model="other"))

    assert (await watch.read()).incident == opened
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(of_another.read(), 0.2)
    watch.cancel()


async def test_an_incident_of_a_version_without_traffic_closes(running: RunningMonitor, eventually: Eventually) -> None:
    await running.serve_seconds(16, **FAILING)
    await eventually(lambda: incidents(running, is_open=True))

    running.clock.skip(301)

    async def closed() -> list[Incident]:
        return [one for one in await incidents(running) if one.state == Incident.STATE_CLOSED]

    (incident,) = await eventually(closed)
    assert "no more traffic" in incident.summary


async def test_after_a_restart_an_open_incident_goes_on_and_ends_with_recovery(
    tmp_path: Path, eventually: Eventually
) -> None:
    clock = Clock()
    async with monitor(tmp_path, clock=clock) as first:
        await first.serve_seconds(48)
        await first.serve_seconds(24, **SLOW)
        (opened,) = await eventually(lambda: incidents(first))

    async with monitor(tmp_path, clock=clock) as second:
        watch = second.api.WatchIncidents(pb.WatchIncidentsRequest())
        assert (await watch.read()).incident == opened
        await second.serve_seconds(16, **SLOW)
        await second.serve_seconds(48)
        closed = (await watch.read()).incident
        assert (closed.name, closed.state) == (opened.name, Incident.STATE_CLOSED)
        assert len(await incidents(second)) == 1
        watch.cancel()


async def test_what_made_an_incident_is_stored_with_it(
    tmp_path: Path, running: RunningMonitor, eventually: Eventually
) -> None:
    """A monitor that is killed a moment later knows that its figure is in alarm."""
    await running.serve_seconds(48)
    await running.serve_seconds(24, **SLOW)
    await eventually(lambda: incidents(running))

    with incident_store(url_of(tmp_path)) as store:

        async def alarmed() -> list[str]:
            stored = store.references(since_ns=0).get(("digits", "1"), {"evidence": {"latency": {}}})
            return [phase for phase, one in stored["evidence"]["latency"].items() if one["alarmed"]]

        assert "compute_infer" in await eventually(alarmed)


async def test_what_was_learnt_survives_a_restart(tmp_path: Path, eventually: Eventually) -> None:
    """A model that is slow from the first moment after a restart isn't taken for normal."""
    clock = Clock()
    async with monitor(tmp_path, clock=clock) as first:
        await first.serve_seconds(48)
        await asyncio.sleep(1.5)

    async with monitor(tmp_path, clock=clock) as second:
        await second.serve_seconds(32, **SLOW)
        assert await eventually(lambda: incidents(second, is_open=True))


async def test_what_was_learnt_of_a_version_that_never_comes_back_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    async with monitor(tmp_path, clock=clock) as first:
        await first.serve_seconds(48)
        await asyncio.sleep(1.5)
    for without_traffic_s, is_kept in ((500, True), (700, False)):
        async with monitor(tmp_path, clock=clock):
            clock.skip(without_traffic_s)
            await asyncio.sleep(1.5)
        with incident_store(url_of(tmp_path)) as store:
            assert bool(store.references(since_ns=0)) is is_kept


async def test_an_incident_that_can_not_be_seen_to_end_is_closed_at_restart(
    tmp_path: Path, eventually: Eventually
) -> None:
    clock = Clock()
    async with monitor(tmp_path, clock=clock) as first:
        await first.serve_seconds(48)
        await first.serve_seconds(24, **SLOW)
        await eventually(lambda: incidents(first))

    clock.skip(3_600)
    async with monitor(tmp_path, clock=clock) as second:
        (incident,) = await incidents(second)
        assert incident.state == Incident.STATE_CLOSED
        assert "restart" in incident.summary


async def test_incidents_are_listed_page_by_page(running: RunningMonitor, eventually: Eventually) -> None:
    for count, version in enumerate(("1", "2", "3"), 1):
        await running.serve_seconds(16, version=version, **FAILING)

        async def opened(expected: int = count) -> bool:
            return len(await incidents(running)) == expected

        await eventually(opened)
    first = await running.api.ListIncidents(pb.ListIncidentsRequest(page_size=2))
    second = await running.api.ListIncidents(pb.ListIncidentsRequest(page_size=2, page_token=first.next_page_token))

    assert [one.version for one in first.incidents] == ["3", "2"]
    assert [one.version for one in second.incidents] == ["1"]
    assert second.next_page_token == ""
    with pytest.raises(grpc.aio.AioRpcError, match="same list"):
        await running.api.ListIncidents(pb.ListIncidentsRequest(model="other", page_token=first.next_page_token))
