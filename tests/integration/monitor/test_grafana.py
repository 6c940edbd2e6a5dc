"""Incidents become regions in Grafana: one annotation each, over failures and restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.common.errors import FailedPreconditionError
from services.monitor.adapters.grafana import Grafana
from services.monitor.adapters.web_api import WebApi
from services.monitor.domain.alerts import Links
from tests.integration.monitor.test_alertmanager import TRACES, fail, metric, slow_down
from tests.support.grafana import AnnotationServer
from tests.support.monitor_process import Clock, monitor

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
TOKEN = "glsa_of_a_test"


@pytest.fixture
def grafana() -> Iterator[AnnotationServer]:
    with AnnotationServer(token=TOKEN) as server:
        yield server


def settings(grafana: AnnotationServer, *, token: str = TOKEN) -> dict[str, Any]:
    return {"grafana_url": grafana.url, "grafana_token": SecretStr(token), "trace_url_template": TRACES}


async def test_an_incident_is_a_region_from_its_change_point_to_its_recovery(
    tmp_path: Path, eventually: Eventually, grafana: AnnotationServer
) -> None:
    async with monitor(tmp_path, **settings(grafana)) as running:
        await slow_down(running)

        async def is_settled() -> bool:
            return any("phase:compute_infer" in one["tags"] for one in grafana.annotations.values())

        assert await eventually(is_settled)
        (found,) = grafana.annotations.values()
        incident = (await running.api.ListIncidents(pb.ListIncidentsRequest())).incidents[0]
        assert found["time"] == found["timeEnd"] == incident.change_time.ToMilliseconds()
        assert {"penstock", "incident", "open", "model:digits", "version:1", "signal:latency"} <= set(found["tags"])
        assert "digits version 1 became slower" in found["text"]
        assert f'<a href="{TRACES.replace("{trace_id}", incident.traces[0].removeprefix("traces/"))}">' in found["text"]

        await running.serve_seconds(48)
        assert await eventually(has_ended_in(grafana))
        incident = (await running.api.GetIncident(pb.GetIncidentRequest(name=incident.name))).incident
        assert grafana.annotations[1]["timeEnd"] == incident.close_time.ToMilliseconds()
        assert "back to normal" in grafana.annotations[1]["text"]
    assert len(grafana.annotations) == 1


async def test_a_restarted_monitor_finds_its_annotation_again(
    tmp_path: Path, eventually: Eventually, grafana: AnnotationServer
) -> None:
    clock = Clock()
    async with monitor(tmp_path, clock=clock, **settings(grafana)) as running:
        await fail(running)
        assert await eventually(is_written_in(grafana))
    async with monitor(tmp_path, clock=clock, **settings(grafana)) as running:
        await running.serve_seconds(48)
        assert await eventually(has_ended_in(grafana))
    assert len(grafana.annotations) == 1


async def test_a_write_whose_answer_was_a_failure_makes_no_second_annotation(
    tmp_path: Path, eventually: Eventually, grafana: AnnotationServer
) -> None:
    grafana.is_broken = True
    async with monitor(tmp_path, **settings(grafana)) as running:
        await fail(running)

        async def has_failed() -> bool:
            return bool(await metric(running, "penstock_monitor_notifications_total", result="failed"))

        assert await eventually(has_failed)
        grafana.is_broken = False

        async def is_told() -> bool:
            return bool(await metric(running, "penstock_monitor_notifications_total", result="sent"))

        assert await eventually(is_told)
    assert len(grafana.annotations) == 1


async def test_a_refused_token_is_counted_and_hurts_nobody(
    tmp_path: Path, eventually: Eventually, grafana: AnnotationServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with monitor(tmp_path, **settings(grafana, token="old-secret")) as running:
        await fail(running)

        async def is_dropped() -> bool:
            return bool(await metric(running, "penstock_monitor_notifications_total", result="dropped"))

        assert await eventually(is_dropped)
    assert grafana.annotations == {}
    assert "refused GET" in caplog.text
    assert "old-secret" not in caplog.text


async def test_it_shows_before_the_first_incident_whether_a_token_is_good(grafana: AnnotationServer) -> None:
    good, old = (
        Grafana(WebApi(grafana.url, authorization=f"Bearer {token}"), links=Links()) for token in (TOKEN, "old-secret")
    )

    await good.tell()
    with pytest.raises(FailedPreconditionError, match="refused GET"):
        await old.tell()

    assert good.every_s is not None


async def test_an_incident_that_ends_in_a_restart_ends_its_region(
    tmp_path: Path, eventually: Eventually, grafana: AnnotationServer
) -> None:
    clock = Clock()
    async with monitor(tmp_path, clock=clock, **settings(grafana)) as running:
        await slow_down(running)
        assert await eventually(is_written_in(grafana))
    clock.skip(3_600)
    async with monitor(tmp_path, clock=clock, **settings(grafana)):
        assert await eventually(has_ended_in(grafana))
    assert len(grafana.annotations) == 1
    assert "lost sight of in a restart" in grafana.annotations[1]["text"]


async def test_an_incident_that_ended_while_grafana_was_away_ends_its_region_after_a_restart(
    tmp_path: Path, eventually: Eventually, grafana: AnnotationServer
) -> None:
    clock = Clock()
    async with monitor(tmp_path, clock=clock, **settings(grafana)) as running:
        await fail(running)
        assert await eventually(is_written_in(grafana))
    async with monitor(tmp_path, clock=clock) as running:  # which can tell nobody
        await running.serve_seconds(48)

        async def is_closed() -> bool:
            return not (await running.api.ListIncidents(pb.ListIncidentsRequest(is_open=True))).incidents

        assert await eventually(is_closed)
    assert "open" in grafana.annotations[1]["tags"]
    async with monitor(tmp_path, clock=clock, **settings(grafana)):
        assert await eventually(has_ended_in(grafana))


def is_written_in(grafana: AnnotationServer) -> Callable[[], Awaitable[bool]]:
    async def is_written() -> bool:
        return bool(grafana.annotations)

    return is_written


def has_ended_in(grafana: AnnotationServer) -> Callable[[], Awaitable[bool]]:
    async def has_ended() -> bool:
        return "closed" in grafana.annotations[1]["tags"]

    return has_ended
