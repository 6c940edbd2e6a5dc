"""A program that knows nothing of Penstock, instrumented with OpenTelemetry's SDK alone, is watched like a model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.monitor.domain.blocks import NS
from services.monitor.rounds import JUDGE_PERIOD_S
from tests.support.monitor_process import Clock, RunningMonitor, monitor

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Shop:
    """A foreign program. It tells its spans' times itself, so that minutes pass in a moment."""

    def __init__(self, running: RunningMonitor, *, replica: str = "pod-1") -> None:
        self._clock = running.clock
        resource = Resource({"service.name": "shop", "service.instance.id": replica, "cloud.region": "x"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"http://127.0.0.1:{running.ports.otlp}", insecure=True)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
        self._tracer = self._provider.get_tracer("shop")
        self._random = random.Random(replica)

    async def sell(self, seconds: int, **how: Any) -> None:
        """Answer calls for so long; the monitor's clock goes on meanwhile."""
        for start in range(0, seconds, 5):  # what is ten seconds old when it comes counts as of now
            length = min(5, seconds - start)
            self._clock.skip(length)
            await self.have_sold(length, **how)

    async def have_sold(
        self, seconds: int, *, slower: float = 1.0, failing: float = 0.0, path: str = "/cart/{id}"
    ) -> None:
        """Tell of twenty calls in each of the last seconds."""
        now_ns = self._clock()
        for back in range(seconds):
            for _ in range(20):
                self._call(now_ns - back * NS, slower * self._random.uniform(15e6, 25e6), failing, path)
        await asyncio.to_thread(self._provider.force_flush)
        await asyncio.sleep(0.05)

    def _call(self, end_ns: int, duration_ns: float, failing: float, path: str) -> None:
        start_ns = end_ns - int(duration_ns)
        is_failed = self._random.random() < failing
        call = self._tracer.start_span(
            "GET",
            kind=SpanKind.SERVER,
            start_time=start_ns,
            attributes={
                "http.request.method": "GET",
                "http.route": path,
                "http.response.status_code": 500 if is_failed else 200,
                "shop.customers": ["a", "b"],
            },
        )
        if is_failed:
            call.set_status(Status(StatusCode.ERROR, "no stock"))
        call.end(end_ns)

    async def close(self) -> None:
        await asyncio.to_thread(self._provider.shutdown)


async def figures(running: RunningMonitor, service: str = "shop", **more: Any) -> list[pb.ServiceFigures]:
    question = pb.ListServiceFiguresRequest(service=service, window={"seconds": 600}, **more)
    return list((await running.api.ListServiceFigures(question)).figures)


async def incidents(running: RunningMonitor, **question: Any) -> list[pb.Incident]:
    return list((await running.api.ListIncidents(pb.ListIncidentsRequest(**question))).incidents)


async def metrics(running: RunningMonitor) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text


async def test_it_has_figures_by_operation_and_replica(running: RunningMonitor, eventually: Eventually) -> None:
    for replica, seconds in (("pod-1", 4), ("pod-2", 8)):
        shop = Shop(running, replica=replica)
        await shop.sell(seconds)
        await shop.close()

    async def both() -> list[pb.ServiceFigures]:
        found = await figures(running)
        return found if sum(one.request_count for one in found) == 240 else []

    first, second = await eventually(both)
    assert (first.service, first.operation, first.replica) == ("shop", "GET /cart/{id}", "pod-1")
    assert first.request_count == 80
    assert (second.replica, second.request_count, second.error_count) == ("pod-2", 160, 0)
    assert second.p50_seconds == pytest.approx(0.02, rel=0.1)
    assert second.mean_seconds == pytest.approx(0.02, rel=0.1)
    assert await figures(running, "else") == []
    page = await running.api.ListServiceFigures(pb.ListServiceFiguresRequest(page_size=1))
    rest = await running.api.ListServiceFigures(
        pb.ListServiceFiguresRequest(page_size=1, page_token=page.next_page_token)
    )
    assert [one.replica for one in (*page.figures, *rest.figures)] == ["pod-1", "pod-2"]
    assert rest.next_page_token == ""
    text = await metrics(running)
    labels = 'operation="GET /cart/{id}",outcome="ok",replica="pod-2",service="shop"'
    assert f"penstock_service_requests_total{{{labels}}} 160.0" in text
    assert "penstock_monitor_service_series 2.0" in text
    assert (await running.api.ListFigures(pb.ListFiguresRequest())).figures == []


async def test_its_errors_open_an_incident_with_its_name_that_closes_when_they_end(
    running: RunningMonitor, eventually: Eventually
) -> None:
    watch = running.api.WatchIncidents(pb.WatchIncidentsRequest(model="services/shop"))
    await watch.initial_metadata()
    shop = Shop(running)
    await shop.sell(48, failing=0.0)
    await shop.sell(24, failing=0.6)

    opened = (await watch.read()).incident
    assert (opened.model, opened.version) == ("services/shop", "GET /cart/{id}")
    assert (opened.signal, opened.state) == (pb.Incident.SIGNAL_ERROR_RATE, pb.Incident.STATE_OPEN)
    assert opened.summary.startswith("Errors of GET /cart/{id} of service shop on pod-1 rose from")
    assert opened.after == pytest.approx(0.6, abs=0.15)
    assert 1 <= len(opened.traces) <= 5
    for name in opened.traces:
        shown = (await running.api.GetTrace(pb.GetTraceRequest(name=name))).trace
        assert (shown.spans[0].service, shown.has_error) == ("shop", True)
        assert shown.spans[0].attributes["http.response.status_code"] == "500"
    assert 'penstock_service_incidents_open{service="shop",signal="error_rate"} 1.0' in await metrics(running)
    assert await incidents(running, model="services/shop", is_open=True) == [opened]
    assert await incidents(running, model="services/else") == []

    await shop.sell(56)
    closed = (await watch.read()).incident
    assert (closed.name, closed.state) == (opened.name, pb.Incident.STATE_CLOSED)
    await shop.close()
    watch.cancel()


async def test_a_slow_replica_is_named_after_a_restart_too(tmp_path: Path, eventually: Eventually) -> None:
    """What was learnt before the restart is what the replica is compared with; the incident outlives the next one."""
    clock = Clock()
    async with monitor(tmp_path, clock=clock) as first:
        good, bad = Shop(first, replica="pod-1"), Shop(first, replica="pod-2")
        for _ in range(10):
            clock.skip(5)
            await good.have_sold(5)
            await bad.have_sold(5)
        await asyncio.sleep(2 * JUDGE_PERIOD_S)  # until all of that is learnt
        await good.close()
        await bad.close()

    async with monitor(tmp_path, clock=clock) as second:
        bad = Shop(second, replica="pod-2")
        await bad.sell(60, slower=5.0)

        async def found() -> list[pb.Incident]:
            return await incidents(second, is_open=True)

        (incident,) = await eventually(found)
        await bad.close()
    assert (incident.signal, incident.phase) == (pb.Incident.SIGNAL_LATENCY, pb.PHASE_TOTAL)
    assert "GET /cart/{id} of service shop on pod-2 became slower: " in incident.summary
    assert incident.before == pytest.approx(0.02, rel=0.1)
    assert incident.after == pytest.approx(0.1, rel=0.1)

    async with monitor(tmp_path, clock=clock) as third:
        assert [one.name for one in await incidents(third, is_open=True)] == [incident.name]


async def test_ids_in_its_names_end_in_an_overflow_series(tmp_path: Path, eventually: Eventually) -> None:
    async with monitor(tmp_path, max_service_series=16) as running:
        shop = Shop(running)
        for number in range(40):
            await shop.sell(1, path=f"/cart/{number}")
        await shop.close()

        async def all_counted() -> list[pb.ServiceFigures]:
            found = await figures(running)
            return found if sum(one.request_count for one in found) == 800 else []

        found = await eventually(all_counted)
        assert len(found) == 5
        assert max(found, key=lambda one: one.request_count).operation == "_overflow"


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (pb.ListServiceFiguresRequest(page_size=-1), "0 to 1000"),
        (pb.ListServiceFiguresRequest(page_token="invented"), "next_page_token"),
        (pb.ListServiceFiguresRequest(window={"seconds": 601}), "expected 1 s to 600 s"),
    ],
)
async def test_a_wrong_question_gets_a_clear_answer(
    running: RunningMonitor, question: pb.ListServiceFiguresRequest, text: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await running.api.ListServiceFigures(question)

    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in str(error.value.details())
