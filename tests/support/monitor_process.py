"""A monitor in this process, with a clock that a test may put forward, and a sender of batch spans."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from services.common.settings import SuiteSettings
from services.monitor.domain.blocks import NS
from services.monitor.server import Monitor, Ports
from services.monitor.settings import MonitorSettings
from tests.support.ports import free_port


@dataclass
class Clock:
    """Unix time in nanoseconds; :meth:`skip` puts it forward."""

    offset_ns: int = 0

    def __call__(self) -> int:
        return time.time_ns() + self.offset_ns

    def skip(self, seconds: float) -> None:
        self.offset_ns += int(seconds * NS)


@dataclass
class RunningMonitor:
    """Stubs of a monitor that runs, and what it was started with."""

    api: MonitorServiceStub
    otlp: TraceServiceStub
    ports: Ports
    metrics_port: int
    clock: Clock
    api_channel: grpc.aio.Channel
    otlp_channel: grpc.aio.Channel = field(repr=False)

    async def send(self, *spans: Span, **identity: str) -> trace_pb.ExportTraceServiceResponse:
        """``identity``: service and instance, where they aren't a model process' own."""
        return await self.otlp.Export(export_request(*spans, **identity))

    async def serve_seconds(self, seconds: int, *, batches: int = 5, **batch: Any) -> None:
        """Let the model run for so long, ten seconds at a time, on the monitor's own clock."""
        for start in range(0, seconds, 8):
            length = min(8, seconds - start)
            self.clock.skip(length)
            now_ns = self.clock()
            await self.send(*(
                batch_span(end_ns=now_ns - back * NS, **batch) for back in range(length) for _ in range(batches)
            ))  # fmt: skip
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def monitor(home: Path, *, clock: Clock | None = None, **settings: Any) -> AsyncIterator[RunningMonitor]:
    """Run a monitor on free ports, and stop it in order."""
    clock = clock or Clock()
    metrics_port = free_port()
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    # No registry is there, unless a test has one: what was promised of models is then unknown.
    registry = settings.pop("registry_address", f"127.0.0.1:{free_port()}")
    values = {"otlp_port": 0, "otlp_http_port": 0, "port": 0, "metrics_port": metrics_port, **settings}
    running = Monitor(SuiteSettings(home=home, registry_address=registry), MonitorSettings(**values), clock=clock)
    serving = asyncio.create_task(running.serve(stop, on_start=started.set_result))
    await asyncio.wait([started, serving], return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        await serving
    ports: Ports = started.result()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.api}") as api,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.otlp}") as otlp,
    ):
        try:
            yield RunningMonitor(MonitorServiceStub(api), TraceServiceStub(otlp), ports, metrics_port, clock, api, otlp)
        finally:
            stop.set()
            await serving


def export_request(
    *spans: Span, service: str = "penstock-inference", instance: str = "worker-1"
) -> trace_pb.ExportTraceServiceRequest:
    request = trace_pb.ExportTraceServiceRequest()
    group = request.resource_spans.add(scope_spans=[{"scope": {"name": "penstock"}, "spans": spans}])
    group.resource.attributes.extend([_attribute("service.name", service), _attribute("service.instance.id", instance)])
    return request


def batch_span(
    *,
    end_ns: int,
    model: str = "digits",
    version: str = "1",
    status: Sequence[int] = (0,) * 8,
    infer_ns: int = 5_000_000,
    wait_us: int = 150,
    drawn: int = 0,
    links: Sequence[bytes] = (),
) -> Span:
    """A batch span as a model process sends it."""
    size = len(status)
    packed = np.full(size, wait_us, "<u4")
    attributes = {
        "messaging.system": "redis",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": size,
        "penstock.model.name": model,
        "penstock.model.version": version,
        "penstock.batch.rows": size,
        "penstock.batch.close_reason": "drained",
        "penstock.compute.device": "cpu",
        "penstock.compute.input_ns": 20_000,
        "penstock.compute.infer_ns": infer_ns,
        "penstock.compute.output_ns": 30_000,
        "penstock.requests.trace_id": os.urandom(16 * size),
        "penstock.requests.wait_us": packed.tobytes(),
        "penstock.requests.total_us": (packed + infer_ns // 1_000 + 50).astype("<u4").tobytes(),
        "penstock.requests.status": bytes(status),
        **({"penstock.batch.drawn": drawn} if drawn else {}),
    }
    return span(
        f"batch {model}",
        attributes,
        end_ns=end_ns,
        start_ns=end_ns - infer_ns,
        links=links,
    )


def span(
    name: str,
    attributes: dict[str, Any],
    *,
    end_ns: int,
    start_ns: int,
    kind: int = Span.SPAN_KIND_CONSUMER,
    trace_id: bytes | None = None,
    parent: bytes = b"",
    links: Sequence[bytes] = (),
    is_error: bool = False,
) -> Span:
    """Any span; ``links`` are trace ids."""
    return Span(
        trace_id=trace_id or os.urandom(16),
        span_id=os.urandom(8),
        parent_span_id=parent,
        name=name,
        kind=kind,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=end_ns,
        attributes=[_attribute(key, value) for key, value in attributes.items()],
        links=[{"trace_id": link, "span_id": os.urandom(8)} for link in links],
        status={"code": 2, "message": "it failed"} if is_error else {},
    )


def _attribute(key: str, value: Any) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(bytes_value=value))
