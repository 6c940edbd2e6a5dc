"""Every request reaches the monitor."""

from __future__ import annotations

import contextlib
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import numpy as np
import tritonclient.grpc as triton
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from tests.support import models, monitor_process
from tests.support.suite import Suite, wait_until


def _infer(suite: Suite, model: str, *, count: int = 1, headers: dict[str, str] | None = None) -> None:
    tensor = triton.InferInput("image", [1, 64], "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(models.digits().images[:1]))
    with triton.InferenceServerClient(suite.grpc_address) as client:
        for _ in range(count):
            client.infer(model, [tensor], headers=headers)


def test_sampled_request_is_found_by_its_trace_id(suite: Suite) -> None:
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    _infer(suite, "digits", headers={"traceparent": f"00-{trace_id}-{caller}-01"})

    def trace() -> monitor_pb.Trace | None:
        try:
            found = suite.monitor.GetTrace(monitor_pb.GetTraceRequest(name=f"traces/{trace_id}")).trace
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return found if len(found.spans) >= 3 else None

    found = wait_until(trace)
    by_kind = {span.kind: span for span in found.spans}
    assert set(by_kind) == {"SERVER", "PRODUCER", "CONSUMER"}
    assert by_kind["SERVER"].parent_span_id == caller
    assert by_kind["PRODUCER"].parent_span_id == by_kind["SERVER"].span_id
    assert by_kind["CONSUMER"].parent_span_id == by_kind["PRODUCER"].span_id
    (batch_id,) = by_kind["CONSUMER"].linked_trace_ids
    batch = suite.monitor.GetTrace(monitor_pb.GetTraceRequest(name=f"traces/{batch_id}")).trace
    assert trace_id in batch.spans[0].linked_trace_ids
    listed = suite.monitor.ListTraces(monitor_pb.ListTracesRequest(model="digits", page_size=1000)).traces
    assert f"traces/{trace_id}" in {one.name for one in listed}


def test_figures_count_every_request(suite: Suite, model_files: dict[str, Path]) -> None:
    def figures() -> monitor_pb.ModelFigures:
        answer = suite.monitor.ListFigures(monitor_pb.ListFiguresRequest(model="counted", window={"seconds": 600}))
        return answer.figures[0] if answer.figures else monitor_pb.ModelFigures()

    suite.command("deploy", str(model_files["digits"]), "--name", "counted", "--wait")
    _infer(suite, "counted", count=50)
    wait_until(lambda: figures().request_count >= 50)
    assert figures().request_count == 50
    phases = {phase.phase: phase for phase in figures().phases}
    assert 0 < phases[monitor_pb.PHASE_COMPUTE_INFER].p50_seconds <= phases[monitor_pb.PHASE_TOTAL].p99_seconds
    suite.command("undeploy", "counted")


def test_every_service_has_metrics(suite: Suite) -> None:
    _infer(suite, "digits")
    for service in ("GATEWAY", "REGISTRY", "INFERENCE", "MONITOR"):
        port = suite.environ[f"PENSTOCK_{service}__METRICS_PORT"]
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert answer.status_code == 200
        if service == "GATEWAY":
            assert 'nv_inference_count{model="digits",version="1"}' in answer.text


def test_a_flood_of_spans_harms_no_request(suite: Suite) -> None:
    """What is far too much for the monitor, and hostile, while requests go on: they are answered as before."""
    otlp = suite.environ["PENSTOCK_OTLP_ENDPOINT"]
    foreign = monitor_process.span("GET /", {"x": "y" * 1_000}, start_ns=0, end_ns=2**64 - 1, kind=2)
    request = monitor_process.export_request(*[foreign] * 2_000, service="flood")
    is_over = threading.Event()

    def flood() -> None:
        with grpc.insecure_channel(otlp) as channel:
            stub = TraceServiceStub(channel)
            while not is_over.is_set():
                with contextlib.suppress(grpc.RpcError):
                    stub.Export(request, timeout=20)

    with ThreadPoolExecutor(2) as pool:
        floods = [pool.submit(flood) for _ in range(2)]
        _infer(suite, "digits", count=100)
        is_over.set()
        for one in floods:
            one.result()
    test_sampled_request_is_found_by_its_trace_id(suite)
