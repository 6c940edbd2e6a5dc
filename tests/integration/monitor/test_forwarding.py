"""Spans go on to another OTLP receiver, here a second monitor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.common.errors import InvalidArgumentError
from services.monitor import otlp
from tests.support.monitor_process import RunningMonitor, batch_span, monitor, span
from tests.support.ports import free_port

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def metric(running: RunningMonitor, line: str) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
    return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line)), -1.0)


async def executions(running: RunningMonitor) -> int:
    found = (await running.api.ListFigures(pb.ListFiguresRequest())).figures
    return found[0].execution_count if found else 0


async def test_our_spans_arrive_whole_and_foreign_ones_stay(tmp_path: Path, eventually: Eventually) -> None:
    async with (
        monitor(tmp_path / "far") as far,
        monitor(tmp_path / "near", forward_endpoint=f"127.0.0.1:{far.ports.otlp}") as near,
    ):
        batch = batch_span(end_ns=near.clock())
        await near.send(batch)
        await near.send(span("GET /shop", {}, start_ns=1, end_ns=2), service="shop")

        assert await eventually(lambda: executions(far)) == 1
        question = pb.GetTraceRequest(name=f"traces/{batch.trace_id.hex()}")
        assert (await far.api.GetTrace(question)) == (await near.api.GetTrace(question))
        assert len((await far.api.ListTraces(pb.ListTracesRequest())).traces) == 1
        assert await metric(near, 'penstock_monitor_forwarded_spans_total{result="sent"}') == 1


async def test_a_receiver_that_comes_late_gets_what_was_queued(tmp_path: Path, eventually: Eventually) -> None:
    port = free_port()
    async with monitor(tmp_path / "near", forward_endpoint=f"127.0.0.1:{port}") as near:
        await near.send(batch_span(end_ns=near.clock()))
        await asyncio.sleep(0.3)
        async with monitor(tmp_path / "far", otlp_port=port) as far:
            assert await eventually(lambda: executions(far)) == 1


async def test_a_request_over_the_receivers_limit_keeps_nothing_else(tmp_path: Path, eventually: Eventually) -> None:
    class Receiver(TraceServiceServicer):
        spans = 0

        async def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:
            Receiver.spans += otlp.span_count(request)
            return ExportTraceServiceResponse()

    server = grpc.aio.server()  # takes messages of 4 MiB
    add_TraceServiceServicer_to_server(Receiver(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with monitor(tmp_path, forward_endpoint=f"127.0.0.1:{port}") as near:
        large = [span("large", {"text": "x" * (1 << 20)}, start_ns=1, end_ns=2) for _ in range(5)]
        await near.send(*large)
        await near.send(span("small", {}, start_ns=1, end_ns=2))

        async with asyncio.timeout(3):
            while not Receiver.spans:  # noqa: ASYNC110 - served by another task
                await asyncio.sleep(0.02)

        assert Receiver.spans == 1
        assert await metric(near, 'penstock_monitor_forwarded_spans_total{result="dropped"}') == 5
    await server.stop(None)


async def test_a_dead_receiver_slows_nothing_and_what_it_misses_is_counted(
    tmp_path: Path, eventually: Eventually
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with monitor(tmp_path, forward_endpoint=dead, forward_max_mebibytes=1) as near:
        began = time.perf_counter()
        for _ in range(30):
            await near.send(*(batch_span(end_ns=near.clock()) for _ in range(100)))
        took_s = time.perf_counter() - began

        async def all_counted() -> bool:
            return await executions(near) == 3_000

        await eventually(all_counted)
        assert took_s < 5
        assert await metric(near, 'penstock_monitor_forwarded_spans_total{result="dropped"}') > 1_000
        assert await metric(near, 'penstock_monitor_forwarded_spans_total{result="sent"}') == 0
        began = time.perf_counter()
    assert time.perf_counter() - began < 6


@pytest.mark.parametrize("endpoint", ["127.0.0.1", "http://127.0.0.1:4317", "host:port"])
async def test_an_endpoint_that_is_none_is_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        async with monitor(tmp_path, forward_endpoint=endpoint):
            pass


async def test_a_monitor_does_not_forward_to_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="itself"):
        async with monitor(tmp_path, otlp_port=4317, forward_endpoint="localhost:4317"):
            pass
