"""What arrives at a real OTLP receiver, and what the lane carries of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.integration.gateway.conftest import Stage, is_deployed, open_stage, tensor
from tests.support.fake_worker import FakeWorker
from tests.support.ports import free_port
from tests.support.waiting import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
SERVER, PRODUCER = 2, 4


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resource: Any = None
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:
        self.resource = request.resource_spans[0].resource
        self.spans += [span for rs in request.resource_spans for ss in rs.scope_spans for span in ss.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def close(self) -> None:
        self._server.stop(None).wait()

    def find(self, kind: int) -> list[Any]:
        return [span for span in self.spans if span.kind == kind]


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def traced(receiver: Receiver) -> Iterator[Stage]:
    with open_stage(
        PENSTOCK_OTLP_ENDPOINT=receiver.address,
        PENSTOCK_TRACE_SAMPLE_RATIO="0",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    ) as stage:
        stage.registry.deploy("identity")
        yield stage


def test_a_sampled_caller_sees_its_trace_go_on(traced: Stage, receiver: Receiver) -> None:
    with FakeWorker(traced.redis.url, "identity") as worker:
        eventually(lambda: traced.client.is_model_ready("identity"))
        traced.client.infer("identity", [tensor()])
        traced.client.infer(
            "identity", [tensor()], headers={"traceparent": SAMPLED, "tracestate": "a=b"}, request_id="abc"
        )
        eventually(lambda: receiver.find(SERVER) and receiver.find(PRODUCER))
    named = attributes(receiver.resource)
    assert (named["service.name"], named["deployment.environment.name"]) == ("penstock-gateway", "test")
    (server,), (producer,) = receiver.find(SERVER), receiver.find(PRODUCER)
    assert server.name == "inference.GRPCInferenceService/ModelInfer"
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, "b7ad6b7169203331")
    assert (producer.trace_id, producer.parent_span_id) == (server.trace_id, server.span_id)
    assert server.start_time_unix_nano <= producer.start_time_unix_nano <= producer.end_time_unix_nano
    assert producer.end_time_unix_nano <= server.end_time_unix_nano
    assert attributes(server)["penstock.request.id"] == "abc"
    assert attributes(server)["penstock.settled_by"] == "worker"
    unsampled, sampled = worker.seen
    assert (sampled.traceparent, sampled.tracestate) == (f"00-{TRACE}-{producer.span_id.hex()}-01", "a=b")
    assert sampled.envelope.is_sampled
    assert unsampled.traceparent.endswith("-00")
    assert not unsampled.envelope.is_sampled


def test_errors_are_always_seen(traced: Stage, receiver: Receiver) -> None:
    eventually(lambda: is_deployed(traced))
    with pytest.raises(InferenceServerException):
        traced.client.infer("identity", [tensor(65)])
    url = f"http://{traced.gateway.http}/v2/models/nobody/infer"
    assert httpx.post(url, json={}, headers={"traceparent": SAMPLED}).status_code == 404
    eventually(lambda: len(receiver.find(SERVER)) == 2)
    eventually(lambda: traced.gateway.scrape()['penstock_gateway_spans_total{result="sent"}'] == 2)
    assert traced.gateway.scrape()['penstock_gateway_spans_total{result="dropped"}'] == 0
    over_grpc, over_http = receiver.find(SERVER)
    assert attributes(over_grpc) | {
        "rpc.response.status_code": "INVALID_ARGUMENT",
        "error.type": "INVALID_ARGUMENT",
        "penstock.settled_by": "gateway",
        "penstock.sample.weight": 1,
        "penstock.model.version": "1",
    } == attributes(over_grpc)
    assert over_grpc.status.message == "got a batch of 65, model 'identity' takes 1 to 64"
    assert over_http.trace_id.hex() == TRACE
    assert attributes(over_http)["http.response.status_code"] == 404
    assert attributes(over_http)["penstock.model.name"] == "nobody"
    log = traced.gateway.stderr()
    assert f'"trace.id": "{TRACE}"' in log
    assert '"event.outcome": "failure"' in log


def test_a_monitor_that_is_away_delays_nothing(receiver: Receiver) -> None:
    away = f"127.0.0.1:{free_port()}"
    with open_stage(PENSTOCK_OTLP_ENDPOINT=away, PENSTOCK_TRACE_SAMPLE_RATIO="1") as stage:
        stage.registry.deploy("identity")
        with FakeWorker(stage.redis.url, "identity"):
            eventually(lambda: stage.client.is_model_ready("identity"))
            for _ in range(50):
                stage.client.infer("identity", [tensor()])
        started = time.monotonic()
        assert stage.gateway.terminate() == 0
        assert time.monotonic() - started < 8


def test_messages_over_the_limit_are_refused() -> None:
    with open_stage(PENSTOCK_GATEWAY__MAX_REQUEST_BYTES="2000") as stage:
        stage.registry.deploy("identity")
        with FakeWorker(stage.redis.url, "identity"):
            eventually(lambda: stage.client.is_model_ready("identity"))
            with pytest.raises(InferenceServerException) as caught:
                stage.client.infer("identity", [tensor(60)])
            assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
            url = f"http://{stage.gateway.http}/v2/models/identity/infer"
            headers = {"Inference-Header-Content-Length": "0"}
            answer = httpx.post(url, content=np.zeros((60, 16), "f4").tobytes(), headers=headers)
            assert answer.status_code == 400
            assert answer.json() == {"error": "got a body of more than 2000 bytes, the most that is taken"}
            stage.client.infer("identity", [tensor(1)])
            assert httpx.post(url, content=bytes(64), headers=headers).status_code == 200
