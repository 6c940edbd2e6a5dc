"""A collector of another make (rotel, in Rust) takes what the monitor sends on, and sends what the monitor takes in.

``make test-otlp`` has it; in other environments these tests are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span, set_span_in_context

from penstock.monitor.v1 import monitor_service_pb2 as pb
from tests.support.monitor_process import RunningMonitor, batch_span, monitor, span
from tests.support.otlp_receiver import Receiver
from tests.support.ports import free_port

rotel = pytest.importorskip("rotel", reason="rotel is in the environment of `make test-otlp`")
http_exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
grpc_exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
AGENT = Path(rotel.__file__).parent / "rotel-agent"


@contextlib.asynccontextmanager
async def collector(*, exports_to: str, protocol: str) -> AsyncIterator[int]:
    """Run it; gives its port for OTLP/gRPC."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ROTEL_")}
    command = [str(AGENT), "start", "--otlp-grpc-endpoint", f"127.0.0.1:{port}"]
    command += ["--otlp-http-endpoint", f"127.0.0.1:{free_port()}", "--exporter", "otlp", "--batch-timeout", "100ms"]
    command += ["--otlp-exporter-endpoint", exports_to, "--otlp-exporter-protocol", protocol]
    silent: dict[str, Any] = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    child = await asyncio.create_subprocess_exec(*command, env=environ, **silent)
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert child.returncode is None
                await asyncio.sleep(0.05)
        yield port
    finally:
        child.terminate()
        await child.wait()


def by_id(requests: Iterable[ExportTraceServiceRequest]) -> dict[bytes, tuple[Span, list[KeyValue], Any]]:
    """Spans, their attributes in order, beside the attributes of their resource and their scope."""
    found = {}
    for request in requests:
        for group in request.resource_spans:
            resource = sorted(group.resource.attributes, key=lambda one: one.key)
            for scope in group.scope_spans:
                for one in scope.spans:
                    found[one.span_id] = one, resource, scope.scope
    return found


async def test_what_is_forwarded_arrives_there_unchanged(tmp_path: Path) -> None:
    """Penstock's spans, with packed arrays and links, and a foreign program's, through rotel to a last receiver."""
    direct_port, through_port = free_port(), free_port()
    direct, through = Receiver(), Receiver()
    made_here, made_elsewhere = ours(time.time_ns()), foreign()
    async with (
        direct.listening(direct_port),
        through.listening(through_port),
        collector(exports_to=f"http://127.0.0.1:{through_port}", protocol="grpc") as port,
    ):
        for endpoint, last in ((port, through), (direct_port, direct)):
            settings = {"forward_endpoint": f"127.0.0.1:{endpoint}", "forward_foreign": True, "forward_delay_s": 0}
            async with monitor(tmp_path / str(endpoint), **settings) as near:
                await near.send(*made_here)
                await near.send(*made_elsewhere, service="shop")
                await last.wait_for(*(one.name for one in (*made_here, *made_elsewhere)))

    expected = {one.span_id: one for one in (*made_here, *made_elsewhere)}
    for arrived in (by_id(direct.requests), by_id(through.requests)):
        assert {ident: one for ident, (one, _, _) in arrived.items()} == expected
    assert by_id(through.requests) == by_id(direct.requests)


def ours(end_ns: int) -> list[Span]:
    request = os.urandom(16)
    batch = batch_span(end_ns=end_ns, links=[request])
    process = span("process digits", {}, start_ns=end_ns - 9, end_ns=end_ns, trace_id=request, links=[batch.trace_id])
    failed = span("POST /infer", {"error.type": "X"}, start_ns=1, end_ns=2, trace_id=request, kind=2, is_error=True)
    return [batch, process, failed]


def foreign() -> list[Span]:
    odd = span("GET /shop", {"a": "é", "b": b"\0\xff", "c": -(2**63)}, start_ns=5, end_ns=2**62, is_error=True)
    odd.attributes.add(key="d").value.double_value = 0.1
    odd.attributes.add(key="e").value.array_value.values.add(bool_value=True)
    odd.attributes.add(key="f").value.kvlist_value.values.add(key="g").value.string_value = "h"
    odd.events.add(name="retry", time_unix_nano=7).attributes.add(key="n").value.int_value = 3
    odd.trace_state, odd.flags = "vendor=1", 0x101
    odd.dropped_attributes_count, odd.dropped_events_count, odd.dropped_links_count = 1, 2, 3
    return [odd]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_its_spans_are_taken_in(tmp_path: Path, eventually: Eventually, protocol: str) -> None:
    """A program sends to rotel by OTLP/gRPC, and that to the monitor: by gRPC, or by HTTP, gzipped as it does."""
    async with monitor(tmp_path) as running:
        port = running.ports.otlp if protocol == "grpc" else running.ports.otlp_http
        async with collector(exports_to=f"http://127.0.0.1:{port}", protocol=protocol) as agent:
            exporter = grpc_exporter.OTLPSpanExporter(f"http://127.0.0.1:{agent}", insecure=True)
            await sell(exporter)
            await eventually(lambda: sold(running))


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzip"])
async def test_the_sdk_s_http_exporter_is_understood(
    running: RunningMonitor, eventually: Eventually, is_packed: bool
) -> None:
    compression = http_exporter.Compression.Gzip if is_packed else http_exporter.Compression.NoCompression
    endpoint = f"http://127.0.0.1:{running.ports.otlp_http}/v1/traces"
    await sell(http_exporter.OTLPSpanExporter(endpoint, compression=compression))

    await eventually(lambda: sold(running))


async def sell(exporter: Any) -> None:
    """A foreign program that answers ten calls, two of which fail."""
    provider = TracerProvider(
        resource=Resource({"service.name": "shop", "service.instance.id": "pod-1"}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("shop", "1.2")
    for number in range(10):
        call = tracer.start_span("GET", kind=SpanKind.SERVER, attributes={"http.route": "/cart", "http.method": "GET"})
        inner = tracer.start_span(
            "SELECT", set_span_in_context(call), links=[Link(get_current_span().get_span_context())]
        )
        inner.end()
        if number < 2:
            call.set_status(Status(StatusCode.ERROR))
        call.end()
    await asyncio.to_thread(provider.shutdown)


async def sold(running: RunningMonitor) -> bool:
    found = (await running.api.ListServiceFigures(pb.ListServiceFiguresRequest(service="shop"))).figures
    return [(one.operation, one.replica, one.request_count, one.error_count) for one in found] == [
        ("GET /cart", "pod-1", 10, 2)
    ]
