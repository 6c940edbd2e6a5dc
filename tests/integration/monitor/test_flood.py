"""Twenty times what is normal, with what is malformed, huge and hostile in it: the monitor's own process survives it,
within its memory, says what it lost, and goes on by itself.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.monitor.test_process import Process
from tests.support.monitor_process import batch_span, export_request, span

SENDERS, REQUESTS = 4, 20
MOST_GROWTH_BYTES = 500 << 20


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    one = Process(
        tmp_path,
        PENSTOCK_MONITOR__INTAKE_MAX_SPANS="4000",
        PENSTOCK_MONITOR__INTAKE_MAX_MEBIBYTES="32",
        PENSTOCK_MONITOR__RING_MAX_MEBIBYTES="16",
        PENSTOCK_MONITOR__MAX_SERVICE_SERIES="50",
        # Nobody is there: what is to be forwarded has to be dropped in time.
        PENSTOCK_MONITOR__FORWARD_ENDPOINT="127.0.0.1:9",
        PENSTOCK_MONITOR__FORWARD_FOREIGN="true",
        PENSTOCK_MONITOR__FORWARD_MAX_MEBIBYTES="8",
        PENSTOCK_MONITOR__FORWARD_DELAY_S="0",
    )
    yield one
    if one.child.poll() is None:
        one.child.kill()
        one.child.communicate()


def hostile(source: random.Random) -> Iterator[tuple[str, Span]]:
    """Spans without end, and whose they say they are."""
    now_ns = time.time_ns()
    while True:
        yield "penstock-inference", batch_span(end_ns=now_ns, model=f"m{source.randrange(1_000)}")
        yield "penstock-inference", batch_span(end_ns=now_ns + 10**15, status=(13,) * 64)
        yield "penstock-inference", span("process x", {}, start_ns=1, end_ns=2, parent=os.urandom(8))
        malformed = batch_span(end_ns=now_ns)
        malformed.attributes[-1].value.bytes_value = b"\1\2\3"
        yield "penstock-inference", malformed
        yield "penstock-gateway", span("x", {}, start_ns=2, end_ns=1)
        yield f"s{source.randrange(10**9)}", span(f"GET /{source.random()}", {}, start_ns=0, end_ns=2**64 - 1, kind=2)
        many = {f"a{number}": os.urandom(50) for number in range(200)}
        yield "shop", span("GET /", many, start_ns=now_ns - 10**6, end_ns=now_ns, kind=2, links=[os.urandom(16)] * 500)
        yield "shop", span("huge", {"x": "y" * 300_000}, start_ns=0, end_ns=now_ns, kind=2, is_error=True)
        yield "shop", Span(trace_id=b"t" * 16, span_id=os.urandom(8), name="one trace", kind=2, start_time_unix_nano=1,
                           end_time_unix_nano=2)  # fmt: skip


def requests(seed: int) -> Iterator[ExportTraceServiceRequest]:
    source = random.Random(seed)
    spans = hostile(source)
    for _ in range(REQUESTS):
        request = ExportTraceServiceRequest()
        for _ in range(100):
            service, one = next(spans)
            request.resource_spans.extend(export_request(one, service=service).resource_spans)
        yield request


def flood_grpc(process: Process, seed: int) -> Counter[str]:
    told: Counter[str] = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{process.otlp}") as channel:
        stub = TraceServiceStub(channel)
        for request in requests(seed):
            told["sent"] += 100
            answer = stub.Export.future(request, timeout=30)
            if answer.code() is grpc.StatusCode.OK:
                told["rejected"] += answer.result().partial_success.rejected_spans
                continue
            assert answer.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, answer.details()
            assert ("retry-after", "1") in answer.trailing_metadata()
            told["refused"] += 100
    return told


def flood_http(process: Process, seed: int) -> Counter[str]:
    told: Counter[str] = Counter()
    with httpx.Client(timeout=30, headers={"content-type": "application/x-protobuf"}) as client:
        for request in requests(seed):
            told["sent"] += 100
            answer = client.post(f"http://127.0.0.1:{process.otlp_http}/v1/traces", content=request.SerializeToString())
            if answer.status_code == 429:
                told["refused"] += 100
            else:
                assert answer.status_code == 200
                response = ExportTraceServiceResponse.FromString(answer.content)
                told["rejected"] += response.partial_success.rejected_spans
    return told


def values(process: Process, name: str) -> dict[str, float]:
    """A metric's values by their labels."""
    rows = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)", process.scrape(), re.MULTILINE)
    return {labels: float(value) for labels, value in rows}


@pytest.mark.timeout(180)
def test_a_flood_is_survived_within_bounds_counted_and_over_when_it_ends(process: Process) -> None:
    process.wait_until_serving(process.otlp)
    memory = psutil.Process(process.child.pid).memory_info
    before = memory().rss

    with ThreadPoolExecutor(SENDERS) as pool:
        floods = [pool.submit((flood_grpc, flood_http)[number % 2], process, number) for number in range(SENDERS)]
        peak = before
        while not all(flood.done() for flood in floods):
            peak = max(peak, memory().rss)
            assert process.scrape()
            time.sleep(0.2)
        told = sum((flood.result() for flood in floods), Counter[str]())

    assert told["sent"] == SENDERS * REQUESTS * 100
    assert peak - before < MOST_GROWTH_BYTES
    while sum(values(process, "penstock_monitor_queue_spans").values()):
        time.sleep(0.1)
    spans = {key.split('"')[1]: number for key, number in values(process, "penstock_monitor_spans_total").items()}
    assert sum(spans.values()) == told["sent"]
    assert spans["refused"] == told["refused"]
    assert spans["malformed"] + spans["dropped"] == told["rejected"]
    assert sum(values(process, "penstock_monitor_service_series").values()) <= 102
    assert sum(values(process, "penstock_monitor_series").values()) <= 201

    with grpc.insecure_channel(f"127.0.0.1:{process.otlp}") as channel:
        TraceServiceStub(channel).Export(export_request(batch_span(end_ns=time.time_ns(), model="m1")))
    while values(process, "penstock_monitor_spans_total")['result="batch"'] <= spans["batch"]:
        time.sleep(0.05)
    status, _ = process.end()
    assert status == 0
