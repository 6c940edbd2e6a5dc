"""Traces worth keeping go on to another OTLP receiver, here a second monitor or one of grpcio's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.common.errors import InvalidArgumentError
from services.monitor import otlp
from tests.support.monitor_process import RunningMonitor, batch_span, export_request, monitor, span
from tests.support.otlp_receiver import Receiver
from tests.support.ports import free_port

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def metric(running: RunningMonitor, line: str) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
    return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line)), -1.0)


async def executions(running: RunningMonitor) -> int:
    found = (await running.api.ListFigures(pb.ListFiguresRequest())).figures
    return found[0].execution_count if found else 0


AT_ONCE: dict[str, Any] = {"forward_delay_s": 0.0}


@contextlib.asynccontextmanager
async def forwarding(home: Path, **settings: Any) -> AsyncIterator[tuple[RunningMonitor, Receiver]]:
    """A monitor that forwards to a receiver, which keeps what it gets."""
    port, receiver = free_port(), Receiver()
    async with (
        receiver.listening(port),
        monitor(home, forward_endpoint=f"127.0.0.1:{port}", **settings) as near,
    ):
        yield near, receiver


def spans_of(receiver: Receiver) -> list[Span]:
    return [
        one
        for request in receiver.requests
        for group in request.resource_spans
        for scope in group.scope_spans
        for one in scope.spans
    ]


async def test_our_spans_arrive_whole_and_foreign_ones_stay(tmp_path: Path, eventually: Eventually) -> None:
    async with (
        monitor(tmp_path / "far") as far,
        monitor(tmp_path / "near", forward_endpoint=f"127.0.0.1:{far.ports.otlp}", **AT_ONCE) as near,
    ):
        batch = batch_span(end_ns=near.clock())
        await near.send(batch)
        await near.send(span("GET /shop", {}, start_ns=1, end_ns=2), service="shop")

        assert await eventually(lambda: executions(far)) == 1
        question = pb.GetTraceRequest(name=f"traces/{batch.trace_id.hex()}")
        assert (await far.api.GetTrace(question)) == (await near.api.GetTrace(question))
        assert len((await far.api.ListTraces(pb.ListTracesRequest())).traces) == 1
        assert await metric(near, 'penstock_monitor_forwarded_spans_total{result="sent"}') == 1
        assert await metric(near, 'penstock_monitor_traces_total{reason="contrast"}') == 1


async def test_spans_go_on_as_they_came_with_what_made_them(tmp_path: Path) -> None:
    """Byte by byte: attributes, events, links, flags, and fields that are not known here."""
    async with forwarding(tmp_path, forward_foreign=True, **AT_ONCE) as (near, receiver):
        sent = span("GET /shop", {"list": 7, "text": "é"}, start_ns=1, end_ns=2, is_error=True, links=[b"l" * 16])
        sent.events.add(name="retry", time_unix_nano=2).attributes.add(key="n").value.double_value = 0.5
        sent.flags, sent.trace_state, sent.dropped_attributes_count = 0x101, "a=b", 3
        raw = sent.SerializeToString() + b"\xfa\x3e\x03new"  # field 1007
        request = export_request(Span.FromString(raw), service="shop")
        group = request.resource_spans[0]
        group.schema_url = "https://opentelemetry.io/schemas/1.30.0"
        group.resource.attributes.add(key="host.ip").value.array_value.values.add(string_value="10.0.0.1")
        group.scope_spans[0].schema_url = "https://opentelemetry.io/schemas/1.29.0"
        group.scope_spans[0].scope.version = "7"

        await near.otlp.Export(request)
        await receiver.wait_for("GET /shop")

    (arrived,) = spans_of(receiver)
    assert arrived.SerializeToString() == raw
    (got,) = receiver.requests[0].resource_spans
    assert (got.schema_url, got.scope_spans[0].schema_url, got.scope_spans[0].scope) == (
        group.schema_url, group.scope_spans[0].schema_url, group.scope_spans[0].scope,
    )  # fmt: skip
    by_key = {one.key: one.value for one in got.resource.attributes}
    assert by_key == {one.key: one.value for one in group.resource.attributes}


async def test_a_trace_waits_for_its_spans_and_takes_the_batch_that_it_is_linked_to(tmp_path: Path) -> None:
    async with forwarding(tmp_path, forward_contrasts_per_minute=0, forward_delay_s=1.0) as (near, receiver):
        end_ns, request = near.clock(), b"r" * 16
        linked, other = batch_span(end_ns=end_ns, links=[request]), batch_span(end_ns=end_ns, model="other")
        process = span("process digits", {}, start_ns=1, end_ns=2, trace_id=request, links=[linked.trace_id])
        await near.send(other, linked, process)
        await asyncio.sleep(0.3)
        assert receiver.requests == []
        await near.send(span("send digits", {}, start_ns=1, end_ns=2, trace_id=request, kind=4))
        await receiver.wait_for("process digits", "send digits", "batch digits")
        first = len(receiver.requests)
        await near.send(span("POST /infer", {}, start_ns=1, end_ns=2, trace_id=request, kind=2))
        await receiver.wait_for("POST /infer")

        assert await metric(near, 'penstock_monitor_traces_total{reason="none"}') == 1
        assert await metric(near, 'penstock_monitor_traces_total{reason="head"}') == 1
        assert await metric(near, 'penstock_monitor_traces_total{reason="linked"}') == 1
    assert first == 1
    assert sorted(receiver.names) == ["POST /infer", "batch digits", "process digits", "send digits"]


async def test_failed_slow_and_probing_ones_go_on_and_normal_ones_stay(tmp_path: Path, eventually: Eventually) -> None:
    async with forwarding(tmp_path, forward_contrasts_per_minute=0, **AT_ONCE) as (near, receiver):
        await near.serve_seconds(48)

        async def is_slow_known() -> bool:
            near.clock.skip(11)
            await near.send(batch_span(end_ns=near.clock(), infer_ns=500_000_000), batch_span(end_ns=near.clock()))
            return await metric(near, 'penstock_monitor_traces_total{reason="slow"}') > 0

        await eventually(is_slow_known)
        probe = span("process digits", {}, start_ns=1, end_ns=2)
        probe.attributes.add(key="penstock.probe").value.bool_value = True
        sampled = span("process digits", {"penstock.deployment.arm": "canary"}, start_ns=1, end_ns=2)
        canary = batch_span(end_ns=near.clock(), infer_ns=4_000_000)
        canary.attributes.add(key="penstock.deployment.arm").value.string_value = "canary"
        failed = span("POST /infer", {}, start_ns=1, end_ns=2, kind=2, is_error=True)
        await near.send(batch_span(end_ns=near.clock()), probe, sampled, canary, failed)
        await receiver.wait_for("process digits", times=2)
        await receiver.wait_for("POST /infer", "batch digits")

        reasons = {
            reason: await metric(near, f'penstock_monitor_traces_total{{reason="{reason}"}}')
            for reason in ("probe", "head", "canary", "error", "contrast")
        }
    assert reasons == {"probe": 1, "head": 1, "canary": 1, "error": 1, "contrast": 0}
    forwarded = spans_of(receiver)
    expected = {one.span_id for one in (probe, sampled, failed)}
    assert {one.span_id for one in forwarded if not one.name.startswith("batch")} == expected
    durations = {one.end_time_unix_nano - one.start_time_unix_nano for one in forwarded if one.name == "batch digits"}
    assert durations == {500_000_000, 4_000_000}


async def test_what_shows_an_incident_goes_on_although_it_was_not_chosen(
    tmp_path: Path, eventually: Eventually
) -> None:
    settings = {"forward_contrasts_per_minute": 0, "forward_traces_per_second": 0.001}
    async with forwarding(tmp_path, **settings, **AT_ONCE) as (near, receiver):
        await near.serve_seconds(40)
        await near.serve_seconds(40, infer_ns=90_000_000)

        async def opened() -> list[pb.Incident]:
            found = (await near.api.ListIncidents(pb.ListIncidentsRequest())).incidents
            return [one for one in found if one.phase == pb.PHASE_COMPUTE_INFER]

        (incident,) = await eventually(opened)
        wanted = {bytes.fromhex(name.removeprefix("traces/")) for name in incident.traces}

        async def arrived() -> bool:
            return wanted <= {one.trace_id for one in spans_of(receiver)}

        assert wanted
        assert await eventually(arrived)


async def test_a_receiver_that_comes_late_gets_what_was_queued(tmp_path: Path, eventually: Eventually) -> None:
    port = free_port()
    async with monitor(tmp_path / "near", forward_endpoint=f"127.0.0.1:{port}", **AT_ONCE) as near:
        await near.send(batch_span(end_ns=near.clock()))
        await asyncio.sleep(0.5)
        async with monitor(tmp_path / "far", otlp_port=port) as far:
            assert await eventually(lambda: executions(far)) == 1


async def test_a_request_over_the_receivers_limit_keeps_nothing_else(tmp_path: Path, eventually: Eventually) -> None:
    class Small(TraceServiceServicer):
        spans = 0

        async def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:
            Small.spans += otlp.span_count(request)
            return ExportTraceServiceResponse()

    server = grpc.aio.server()  # takes messages of 4 MiB
    add_TraceServiceServicer_to_server(Small(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with monitor(tmp_path, forward_endpoint=f"127.0.0.1:{port}", **AT_ONCE) as near:
        large = [span("large", {"text": "x" * ((4 << 20) - 100)}, start_ns=1, end_ns=2) for _ in range(2)]
        await near.send(*large, span("small", {}, start_ns=1, end_ns=2))

        async with asyncio.timeout(3):
            while not Small.spans:  # noqa: ASYNC110 - served by another task
                await asyncio.sleep(0.02)

        assert Small.spans == 1
        assert await metric(near, 'penstock_monitor_forwarded_spans_total{result="dropped"}') == 2
    await server.stop(None)


@pytest.mark.parametrize(
    "details",
    [b"\xff\xff", Status(code=14, message="else").SerializeToString(), Status(code=8, message="x").SerializeToString()],
    ids=["no status", "another code", "another message"],
)
async def test_a_receiver_that_contradicts_itself_costs_its_spans_and_nothing_else(
    tmp_path: Path, eventually: Eventually, details: bytes
) -> None:
    class Odd(TraceServiceServicer):
        taken = 0
        is_odd = True

        async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
            if self.is_odd:
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no room")
            self.taken += otlp.span_count(request)
            return ExportTraceServiceResponse()

    server, odd = grpc.aio.server(), Odd()
    add_TraceServiceServicer_to_server(odd, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with monitor(tmp_path, forward_endpoint=f"127.0.0.1:{port}", **AT_ONCE) as near:
        await near.send(span("lost", {}, start_ns=1, end_ns=2))

        async def is_dropped() -> bool:
            return await metric(near, 'penstock_monitor_forwarded_spans_total{result="dropped"}') == 1

        await eventually(is_dropped)
        odd.is_odd = False
        await near.send(span("taken", {}, start_ns=1, end_ns=2))

        async def is_taken() -> bool:
            return odd.taken == 1

        await eventually(is_taken)
    await server.stop(None)


async def test_a_dead_receiver_slows_nothing_and_what_it_misses_is_counted(
    tmp_path: Path, eventually: Eventually
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    settings = {"forward_max_mebibytes": 1, "forward_traces_per_second": 10_000, "forward_contrasts_per_minute": 1_000}
    async with monitor(tmp_path, forward_endpoint=dead, **settings, **AT_ONCE) as near:
        for number in range(30):
            await near.send(*(batch_span(end_ns=near.clock(), version=str(number)) for _ in range(100)))

        async def all_counted() -> bool:
            found = (await near.api.ListFigures(pb.ListFiguresRequest())).figures
            return sum(one.execution_count for one in found) == 3_000

        async def is_dropping() -> bool:
            return await metric(near, 'penstock_monitor_forwarded_spans_total{result="dropped"}') > 1_000

        await eventually(all_counted)
        await eventually(is_dropping)
        assert await metric(near, 'penstock_monitor_forwarded_spans_total{result="sent"}') == 0


@pytest.mark.parametrize("endpoint", ["127.0.0.1", "http://127.0.0.1:4317", "host:port"])
async def test_an_endpoint_that_is_none_is_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        async with monitor(tmp_path, forward_endpoint=endpoint):
            pass


async def test_a_monitor_does_not_forward_to_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="itself"):
        async with monitor(tmp_path, otlp_port=4317, forward_endpoint="localhost:4317"):
            pass
