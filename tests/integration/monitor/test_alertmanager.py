"""Incidents reach a real Alertmanager, whatever happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.monitor.domain.blocks import NS
from tests.support.monitor_process import Clock, RunningMonitor, monitor
from tests.support.ports import free_port
from tests.support.prometheus import AlertmanagerServer, Webhook

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

FAILING = {"status": (0, 13, 13, 0, 13, 13, 13, 13)}
TRACES = "http://127.0.0.1:16686/trace/{trace_id}"


def behind() -> Clock:
    """A clock that a test puts forward up to now, never beyond, so that the Alertmanager's own one agrees."""
    return Clock(offset_ns=-200 * NS)


async def fail(running: RunningMonitor, **batch: Any) -> None:
    await running.serve_seconds(40, **batch)
    await running.serve_seconds(16, **FAILING, **batch)


async def slow_down(running: RunningMonitor) -> None:
    await running.serve_seconds(48)
    await running.serve_seconds(40, infer_ns=90_000_000, wait_us=80_000)


async def patiently(question: Callable[[], Any]) -> Any:
    """Ask until the answer is true, for longer than the longest pause between two attempts."""
    async with asyncio.timeout(60):
        while not (answer := await asyncio.to_thread(question)):  # noqa: ASYNC110 - asks over the wire
            await asyncio.sleep(0.1)
    return answer


async def metric(running: RunningMonitor, name: str, **labels: str) -> float | None:
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
    for line in page.splitlines():
        if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.rpartition(" ")[2])
    return None


async def test_an_incident_arrives_with_all_that_is_known_and_is_resolved_when_it_ends(
    tmp_path: Path, eventually: Eventually
) -> None:
    with Webhook() as somebody, AlertmanagerServer(webhook=somebody.url) as alertmanager:
        clock = behind()
        settings = {"alertmanager_url": alertmanager.url, "incident_url_template": "http://g/{model}"}
        async with monitor(tmp_path, clock=clock, **settings) as running:
            await fail(running)

            async def fires() -> Any:
                return [one for one in somebody.alerts if one["status"] == "firing"]

            (alert,) = await eventually(fires)
            assert alert["labels"] == {
                "alertname": "PenstockIncident",
                "model": "digits",
                "version": "1",
                "signal": "error_rate",
                "arm": "stable",
                "cause": "version",
                "severity": "page",
            }
            told = alert["annotations"]
            assert "Errors of digits version 1 rose from at most" in told["summary"]
            assert told["change"].endswith("→ 0.75 of requests")
            assert told["average_run_length"] == "1.2e8"
            assert float(told["e_value"]) >= 1.2e8
            assert alert["startsAt"].startswith(told["since"][:16])
            assert alert["generatorURL"] == "http://g/digits"

            await running.serve_seconds(48)

            async def resolved() -> Any:
                return [one for one in somebody.alerts if one["status"] == "resolved"]

            (ended,) = await eventually(resolved)
            assert ended["fingerprint"] == alert["fingerprint"]

            async def is_told() -> bool:
                sent = await metric(running, "penstock_monitor_notifications_total", result="sent")
                return sent is not None and sent >= 2

            assert await eventually(is_told)


async def test_a_slow_model_is_one_alert_that_names_the_phase_at_fault_and_links_to_traces(
    tmp_path: Path, eventually: Eventually
) -> None:
    with AlertmanagerServer() as alertmanager:
        settings = {"alertmanager_url": alertmanager.url, "trace_url_template": TRACES}
        async with monitor(tmp_path, clock=behind(), **settings) as running:
            await slow_down(running)

            async def is_settled() -> Any:
                alerts = await asyncio.to_thread(alertmanager.alerts)
                return alerts if [one["labels"]["phase"] for one in alerts] == ["compute_infer"] else None

            (alert,) = await eventually(is_settled)
            before, after = (float(part.split()[0]) for part in alert["annotations"]["change"].split(" → "))
            assert (before, after) == (pytest.approx(5, rel=0.05), pytest.approx(90, rel=0.05))
            links = alert["annotations"]["traces"].splitlines()
            assert 1 <= len(links) <= 5
            for link in links:
                name = f"traces/{link.removeprefix(TRACES.removesuffix('{trace_id}'))}"
                assert (await running.api.GetTrace(pb.GetTraceRequest(name=name))).trace.model == "digits"


async def test_it_shows_before_the_first_incident_whether_an_alertmanager_can_be_told(
    tmp_path: Path, eventually: Eventually
) -> None:
    with AlertmanagerServer() as alertmanager:
        lost = f"http://127.0.0.1:{free_port()}"
        mistyped = f"{alertmanager.url}/alertmanager"
        settings = {"alertmanager_url": ",".join([alertmanager.url, lost, mistyped]), "alertmanager_resend_s": 1.0}
        async with monitor(tmp_path, **settings) as running:
            up, results = "penstock_monitor_receiver_up", "penstock_monitor_notifications_total"

            async def is_noticed() -> bool:
                return await metric(running, up, address=lost.removeprefix("http://")) == 0.0

            assert await eventually(is_noticed)
            async with httpx.AsyncClient() as client:
                page = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
            told = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(f"{up}{{")]
            assert sorted(told) == ["0.0", "0.0", "1.0"]
            assert {line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(f"{results}{{")} == {"0.0"}


async def test_an_alertmanager_that_was_away_is_told_when_it_is_back(tmp_path: Path, eventually: Eventually) -> None:
    with AlertmanagerServer() as alertmanager:
        alertmanager.kill()
        clock = behind()
        async with monitor(tmp_path, clock=clock, alertmanager_url=alertmanager.url) as running:
            await fail(running)

            async def is_noticed() -> bool:
                return await metric(running, "penstock_monitor_receiver_up", receiver="alertmanager") == 0.0

            assert await eventually(is_noticed)
            assert (await metric(running, "penstock_monitor_notifications_total", result="failed") or 0) >= 1
            assert (await running.send()).partial_success.rejected_spans == 0
            await asyncio.to_thread(alertmanager.start)
            alerts = await patiently(alertmanager.alerts)
            assert [one["labels"]["model"] for one in alerts] == ["digits"]

            async def is_back() -> bool:
                return await metric(running, "penstock_monitor_receiver_up", receiver="alertmanager") == 1.0

            assert await eventually(is_back)


async def test_an_alertmanager_that_lost_its_state_is_told_again(tmp_path: Path, eventually: Eventually) -> None:
    with AlertmanagerServer() as alertmanager:
        clock = behind()
        settings = {"alertmanager_url": alertmanager.url, "alertmanager_resend_s": 1.0}
        async with monitor(tmp_path, clock=clock, **settings) as running:
            clock.skip(144)  # alerts last for four seconds: at the end it must be now
            await fail(running)

            async def fires() -> Any:
                return await asyncio.to_thread(alertmanager.alerts)

            assert await eventually(fires)
            alertmanager.kill()
            await asyncio.to_thread(alertmanager.start)
            assert await patiently(alertmanager.alerts)


async def test_alerts_of_a_monitor_that_was_restarted_go_on_and_end(tmp_path: Path, eventually: Eventually) -> None:
    with Webhook() as somebody, AlertmanagerServer(webhook=somebody.url) as alertmanager:
        clock = behind()

        async def statuses() -> list[str]:
            return [one["status"] for one in somebody.alerts]

        async with monitor(tmp_path, clock=clock, alertmanager_url=alertmanager.url) as running:
            await fail(running)
            assert await eventually(statuses) == ["firing"]
        async with monitor(tmp_path, clock=clock, alertmanager_url=alertmanager.url) as running:
            await running.serve_seconds(48)

            async def has_ended() -> bool:
                return await statuses() == ["firing", "resolved"]

            assert await eventually(has_ended)


async def test_a_receiver_that_never_answers_harms_nobody(tmp_path: Path, eventually: Eventually) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(wait, "127.0.0.1", free_port())
    where = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with silent, monitor(tmp_path, alertmanager_url=f"http://{where}", grafana_url=f"http://{where}") as running:
        await fail(running)

        async def is_noticed() -> bool:
            return await metric(running, "penstock_monitor_notifications_total", result="failed", address=where) == 1.0

        assert await eventually(is_noticed)
        await running.serve_seconds(48)


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n[", b"\0" * 9_000]
)
async def test_what_is_no_answer_counts_as_a_failure(tmp_path: Path, eventually: Eventually, answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    odd = await asyncio.start_server(talk, "127.0.0.1", free_port())
    where = f"127.0.0.1:{odd.sockets[0].getsockname()[1]}"
    async with odd, monitor(tmp_path, alertmanager_url=f"http://{where}") as running:
        await fail(running)

        async def is_noticed() -> bool:
            return bool(await metric(running, "penstock_monitor_notifications_total", result="failed", address=where))

        assert await eventually(is_noticed)
