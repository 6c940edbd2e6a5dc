"""Which requests leave spans, and what the spans say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from services.common.discovery.peers import Peers
from services.common.errors import NotFoundError, UnavailableError
from services.common.tracing import SpanExporter, SpanKind, TraceContext
from services.gateway.domain.lane import Lane
from services.gateway.domain.tickets import Arrival, Ticket
from services.gateway.grpc_servicer import GrpcInfer
from services.gateway.rest import HttpInfer
from services.gateway.spans import RequestSpans
from tests.unit.gateway.requests import served

SECOND = 1_000_000_000
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


class RecordingExporter(SpanExporter):
    def __init__(self) -> None:
        super().__init__(receivers=Peers(), service="test", instance="1", version="0")
        self.spans: list[tuple[str, TraceContext, Mapping[str, Any]]] = []

    def export(self, name: str, context: TraceContext, **rest: Any) -> None:
        self.spans.append((name, context, rest))


def spans_of(exporter: SpanExporter, **settings: Any) -> RequestSpans:
    return RequestSpans(exporter, **{"sample_ratio": 0.0, "clock_ns": lambda: 5 * SECOND, **settings})


def ticket_of(arrival: Arrival) -> Ticket:
    lane = Lane(served(), now=0.0)
    return Ticket(
        key=1,
        lane=lane,
        tier=lane.tiers[0],
        share=lane.tiers[0].shares.make("somebody", now=0.0),
        arrival=arrival,
        outcome=None,  # type: ignore[arg-type]
        message=b"",
        request_id="abc",
        rows=1,
        deadline=0.0,
        deadline_ns=0,
        enqueue_ns=6,
        producer=arrival.context.child(),
        sent_ns=7,
        is_sent=True,
    )


def test_a_callers_trace_is_taken_over() -> None:
    arrival = spans_of(RecordingExporter()).arrive(GrpcInfer(), traceparent=CALLER + "1", tracestate="a=b")
    assert arrival.parent is not None
    assert arrival.context.trace_id == arrival.parent.trace_id == bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
    assert arrival.context.span_id != arrival.parent.span_id
    assert arrival.context.is_sampled
    assert arrival.tracestate == "a=b"


def test_names_that_callers_choose_are_cut() -> None:
    exporter = RecordingExporter()
    spans = spans_of(exporter, sample_ratio=1.0)
    error = NotFoundError("no such model")
    spans.refuse(spans.arrive(GrpcInfer()), error, model="m" * 10_000, version="v" * 10_000, request_id="r" * 10_000)
    ((_, _, span),) = exporter.spans
    assert all(len(str(value)) <= 256 for value in span["attributes"].values())


@pytest.mark.parametrize("tracestate", ["a=é", "a=" + "b" * 511])
def test_a_tracestate_that_no_lane_can_carry_is_dropped(tracestate: str) -> None:
    arrival = spans_of(RecordingExporter()).arrive(GrpcInfer(), traceparent=CALLER + "1", tracestate=tracestate)
    assert arrival.parent is not None
    assert arrival.tracestate == ""


def test_sampling_keeps_to_so_many_traces_a_second_evenly() -> None:
    now_ns = 5 * SECOND
    spans = spans_of(RecordingExporter(), sample_ratio=1.0, max_traces_per_second=10, clock_ns=lambda: now_ns)

    def sampled_of(requests: int, *, traceparent: str = "") -> int:
        return sum(spans.arrive(GrpcInfer(), traceparent=traceparent).context.is_sampled for _ in range(requests))

    assert sampled_of(100) == 10
    assert sampled_of(3, traceparent=CALLER + "1") == 3, "those that arrive sampled are"
    now_ns += SECOND // 5
    assert sampled_of(100) == 2
    now_ns += 60 * SECOND
    assert sampled_of(100) == 10
    now_ns -= SECOND
    assert sampled_of(100) == 0, "a clock that is set back earns nothing"


def test_no_sampling_is_an_allowance_too() -> None:
    spans = spans_of(RecordingExporter(), sample_ratio=1.0, max_traces_per_second=0)

    assert not spans.arrive(GrpcInfer()).context.is_sampled


def test_a_caller_that_does_not_sample_is_followed_too() -> None:
    arrival = spans_of(RecordingExporter(), sample_ratio=1.0).arrive(GrpcInfer(), traceparent=CALLER + "0")
    assert not arrival.context.is_sampled


def test_without_a_caller_the_ratio_decides() -> None:
    for ratio, is_sampled in ((0.0, False), (1.0, True)):
        arrival = spans_of(RecordingExporter(), sample_ratio=ratio).arrive(GrpcInfer(), traceparent="garbage")
        assert arrival.context.is_sampled is is_sampled
        assert arrival.parent is None


def test_a_sampled_request_leaves_a_server_and_a_producer_span() -> None:
    exporter = RecordingExporter()
    spans = spans_of(exporter)
    arrival = spans.arrive(GrpcInfer(), traceparent=CALLER + "1")
    ticket = ticket_of(arrival)
    spans.finish(ticket, end_ns=9, settled_by="worker")
    (name, context, server), (sent, producer, rest) = exporter.spans
    assert (name, context, server["parent"]) == (
        "inference.GRPCInferenceService/ModelInfer",
        arrival.context,
        arrival.parent,
    )
    assert server["attributes"] == {
        "penstock.model.name": "m",
        "penstock.model.version": "1",
        "penstock.settled_by": "worker",
        "penstock.request.id": "abc",
        "rpc.system.name": "grpc",
        "rpc.method": "inference.GRPCInferenceService/ModelInfer",
        "rpc.response.status_code": "OK",
    }
    assert (sent, producer, rest["parent"], rest["kind"]) == (
        "send m",
        ticket.producer,
        arrival.context,
        SpanKind.PRODUCER,
    )
    assert (rest["start_ns"], rest["end_ns"]) == (6, 7)
    assert rest["attributes"]["messaging.destination.name"] == "penstock:{m}:1:lane:0"


def test_a_failed_request_leaves_a_span_though_it_is_not_sampled() -> None:
    exporter = RecordingExporter()
    spans = spans_of(exporter)
    spans.finish(
        ticket_of(spans.arrive(HttpInfer("/v2/models/m/infer"))),
        end_ns=9,
        settled_by="gateway",
        error=UnavailableError("Exceeds maximum queue size", reason="QUEUE_FULL"),
    )
    ((name, _, span),) = exporter.spans
    assert name == "POST /v2/models/{model}/infer"
    assert span["error"] == "Exceeds maximum queue size"
    assert (
        span["attributes"]
        | {
            "error.type": "QUEUE_FULL",
            "penstock.sample.weight": 1,
            "http.response.status_code": 503,
            "url.path": "/v2/models/m/infer",
        }
        == span["attributes"]
    )


def test_errors_above_the_budget_are_merged_into_one_span_for_each_kind() -> None:
    exporter, now = RecordingExporter(), [5 * SECOND]
    spans = spans_of(exporter, max_errors_per_second=10, clock_ns=lambda: now[0])

    def fail(times: int) -> None:
        for _ in range(times):
            arrival = spans.arrive(GrpcInfer())
            spans.refuse(arrival, NotFoundError("no"), model="m", version="", request_id="")

    fail(25)
    assert len(exporter.spans) == 10
    spans.flush()
    spans.flush()
    assert len(exporter.spans) == 11
    assert sum(rest["attributes"]["penstock.sample.weight"] for _, _, rest in exporter.spans) == 25
    now[0] += SECOND
    fail(1)
    assert len(exporter.spans) == 12


def test_a_flood_of_made_up_models_is_merged_too() -> None:
    exporter = RecordingExporter()
    spans = spans_of(exporter, max_errors_per_second=1)
    for number in range(3_000):
        spans.refuse(spans.arrive(GrpcInfer()), NotFoundError("no"), model=str(number), version="", request_id="")
    spans.flush()
    assert len(exporter.spans) <= 1_002
    assert sum(rest["attributes"]["penstock.sample.weight"] for _, _, rest in exporter.spans) == 3_000
