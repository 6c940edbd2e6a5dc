"""Spans come from outside: every one is read or refused by itself, and none does harm."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.otlp.v1.trace_pb2 import Resource, TraceRequest
from services.monitor import otlp
from services.monitor.domain.blocks import ABANDONED, Batch, Pulse, Rejection, Skipped
from services.monitor.domain.foreign import Call, SeriesKey
from services.monitor.domain.gathering import gather
from services.monitor.domain.outcomes import Outcome
from services.monitor.span_values import READERS

Attributes = dict[str, str | int | bytes]

BATCH: Attributes = {
    "penstock.model.name": "digits",
    "penstock.model.version": "3",
    "penstock.batch.rows": 4,
    "penstock.batch.close_reason": "drained",
    "penstock.compute.input_ns": 1_000,
    "penstock.compute.infer_ns": 2_000_000,
    "penstock.compute.output_ns": 3_000,
    "penstock.requests.trace_id": b"a" * 16 + b"b" * 16,
    "penstock.requests.wait_us": struct.pack("<2I", 10, 20),
    "penstock.requests.total_us": struct.pack("<2I", 2_010, 2_020),
    "penstock.requests.status": b"\0\r",
    "penstock.deployment.arm": "canary",
    "penstock.requests.confidence": struct.pack("<2f", 0.5, 0.9),
    "penstock.requests.class": struct.pack("<2i", 1, -1),
    "penstock.requests.entropy": struct.pack("<2f", 0.1, 0.2),
    "penstock.inputs.kind": "features",
    "penstock.inputs.sampled": struct.pack("<I", 1),
    "penstock.inputs.sketch": struct.pack("<3f", 1, 2, 3),
}
REJECTED: Attributes = {
    "penstock.model.name": "digits",
    "penstock.model.version": "3",
    "penstock.settled_by": "gateway",
    "penstock.sample.weight": 7,
    "rpc.response.status_code": "UNAVAILABLE",
}


def value(of: str | int | bytes) -> AnyValue:
    if isinstance(of, str):
        return AnyValue(string_value=of)
    if isinstance(of, bool):
        return AnyValue(bool_value=of)
    return AnyValue(int_value=of) if isinstance(of, int) else AnyValue(bytes_value=of)


def span(attributes: Attributes, **fields: Any) -> Span:
    given_fields = {
        "trace_id": b"t" * 16,
        "span_id": b"s" * 8,
        "kind": Span.SPAN_KIND_CONSUMER,
        "start_time_unix_nano": 1_000,
        "end_time_unix_nano": 2_000,
    }
    return Span(
        **{**given_fields, **fields}, attributes=[KeyValue(key=key, value=value(of)) for key, of in attributes.items()]
    )


def request(*spans: Span, service: str = "penstock-inference") -> TraceRequest:
    """As OpenTelemetry's own classes put it on the wire."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name", value=value(service))
    group.resource.attributes.add(key="service.instance.id", value=value("worker-7"))
    group.scope_spans.add(scope={"name": "penstock"}, spans=spans)
    return TraceRequest.FromString(message.SerializeToString())


def test_a_batch_span_is_read_with_its_arrays() -> None:
    readings = otlp.read(request(span(BATCH)))

    (reading,) = readings.spans
    assert reading.observation == Batch(
        model="digits",
        version="3",
        instance="worker-7",
        trace_id=b"t" * 16,
        end_ns=2_000,
        sizes=(2,),
        rows=(4,),
        compute_ns=((1_000,), (2_000_000,), (3_000,)),
        wait_us=struct.pack("<2I", 10, 20),
        total_us=struct.pack("<2I", 2_010, 2_020),
        status=b"\0\r",
        trace_ids=b"a" * 16 + b"b" * 16,
        arm="canary",
        start_ns=1_000,
        confidence=struct.pack("<2f", 0.5, 0.9),
        classes=struct.pack("<2i", 1, -1),
        entropy=struct.pack("<2f", 0.1, 0.2),
        sampled=struct.pack("<I", 1),
        sketch=struct.pack("<3f", 1, 2, 3),
        inputs_kind="features",
    )
    assert (reading.is_ours, reading.span.model, reading.span.service) == (True, "digits", "penstock-inference")
    assert Span.FromString(reading.span.raw) == span(BATCH)


SEVERAL: Attributes = {
    **BATCH,
    "penstock.batches.requests": struct.pack("<2I", 1, 1),
    "penstock.batches.rows": struct.pack("<2I", 3, 1),
    "penstock.batches.input_ns": struct.pack("<2I", 400, 600),
    "penstock.batches.infer_ns": struct.pack("<2I", 1_500_000, 500_000),
    "penstock.batches.output_ns": struct.pack("<2I", 1_000, 2_000),
}


def test_a_span_of_several_batches_is_read_batch_by_batch() -> None:
    (reading,) = otlp.read(request(span(SEVERAL))).spans

    read = reading.observation
    assert isinstance(read, Batch)
    assert (read.sizes, read.rows) == ((1, 1), (3, 1))
    assert read.compute_ns == ((400, 600), (1_500_000, 500_000), (1_000, 2_000))


@pytest.mark.parametrize(
    "changed",
    [
        {"penstock.batches.requests": b"\1\0\0"},
        {"penstock.batches.requests": struct.pack("<2I", 2, 1)},
        {"penstock.batches.requests": struct.pack("<2I", 2, 0)},
        {"penstock.batches.rows": struct.pack("<2I", 0, 4)},
        {"penstock.batches.rows": struct.pack("<I", 4)},
        {"penstock.batches.infer_ns": b""},
        {"penstock.batches.output_ns": "12345678"},
    ],
    ids=["half a number", "other requests", "an empty batch", "no rows", "rows of one", "no times", "text"],
)
def test_batches_that_do_not_fit_their_span_are_refused(changed: Attributes) -> None:
    readings = otlp.read(request(span({**SEVERAL, **changed})))

    assert (readings.malformed, readings.spans) == (1, [])
    assert "batch" in readings.error


SKIPPED: Attributes = {
    "penstock.skipped.batches": 5,
    "penstock.skipped.requests": 8,
    "penstock.skipped.rows": 9,
    "penstock.skipped.input_ns": 1,
    "penstock.skipped.infer_ns": 2,
    "penstock.skipped.output_ns": 3,
}


def test_batches_that_are_only_counted_are_read_with_those_that_are_told() -> None:
    (reading,) = otlp.read(request(span({**SEVERAL, **SKIPPED, "penstock.batch.is_extra": True}))).spans

    assert isinstance(reading.observation, Batch)
    assert reading.observation.skipped == Skipped(5, 8, 9, 6)
    assert reading.observation.is_extra
    assert reading.observation.drawn == 0


def test_what_a_rollout_drew_is_read() -> None:
    drawn: Attributes = {"penstock.batch.drawn": 1, "penstock.skipped.drawn": 8}
    (reading,) = otlp.read(request(span({**SEVERAL, **SKIPPED, **drawn}))).spans
    assert isinstance(reading.observation, Batch)
    assert (reading.observation.drawn, reading.observation.skipped.drawn) == (1, 8)

    refused = span({**REJECTED, "penstock.request.is_drawn": True}, kind=Span.SPAN_KIND_SERVER)
    (reading,) = otlp.read(request(refused, service="penstock-gateway")).spans
    assert isinstance(reading.observation, Rejection)
    assert reading.observation.is_drawn


@pytest.mark.parametrize(
    "changed",
    [
        {"penstock.skipped.batches": 0},
        {"penstock.skipped.requests": 4},
        {"penstock.skipped.rows": -9},
        {"penstock.skipped.requests": 2**62},
        {"penstock.skipped.infer_ns": -2},
        {"penstock.skipped.batches": "5"},
        {"penstock.skipped.drawn": 9},
        {"penstock.skipped.drawn": -1},
        {"penstock.batch.drawn": 1_000},
        {"penstock.batch.drawn": -1},
        {"penstock.batch.drawn": "1"},
    ],
    ids=[
        *("no batches", "empty batches", "rows below none", "more than there can be", "negative time", "text"),
        *(
            "more drawn than skipped",
            "fewer drawn than none",
            "more drawn than told",
            "none of them",
            "no number drawn",
        ),
    ],
)
def test_implausible_counts_of_batches_are_refused(changed: Attributes) -> None:
    readings = otlp.read(request(span({**SEVERAL, **SKIPPED, **changed})))

    assert (readings.malformed, readings.spans) == (1, [])


def test_a_request_that_the_gateway_settled_is_counted_by_its_weight() -> None:
    (reading,) = otlp.read(request(span(REJECTED, kind=Span.SPAN_KIND_SERVER), service="penstock-gateway")).spans

    assert reading.observation == Rejection("digits", "3", b"t" * 16, 2_000, Outcome.SERVER_ERROR, 7, 14)


@pytest.mark.parametrize(
    "changed", [{"penstock.settled_by": "worker"}, {"penstock.model.name": ""}], ids=["worker", "no model"]
)
def test_other_server_spans_are_not_counted(changed: Attributes) -> None:
    (reading,) = otlp.read(request(span({**REJECTED, **changed}, kind=Span.SPAN_KIND_SERVER))).spans

    assert reading.observation is None


def test_a_pulse_says_how_long_a_batch_has_run() -> None:
    pulse: Attributes = {
        "penstock.model.name": "digits",
        "penstock.model.version": "3",
        "penstock.replica.state": "running",
        "penstock.replica.running_ns": 5_000,
        "penstock.replica.running_requests": 2,
    }
    (reading,) = otlp.read(request(span(pulse))).spans
    assert reading.observation == Pulse("digits", "3", "worker-7", b"t" * 16, 2_000, False, 5_000, 2)
    readings = otlp.read(request(span({**pulse, "penstock.replica.running_ns": -1})))
    assert (readings.malformed, readings.spans) == (1, [])


def test_a_foreign_span_that_speaks_like_ours_is_kept_as_a_call_of_its_service_and_not_believed() -> None:
    readings = otlp.read(request(span({**BATCH, "penstock.probe": 1}, name="GET /shop"), service="shop"))

    (reading,) = readings.spans
    key = SeriesKey("shop", "GET /shop", "worker-7")
    assert reading.observation == Call(key, b"t" * 16, 2_000, 1_000, Outcome.OK)
    kept = reading.span
    assert (reading.is_ours, kept.is_ours, kept.model, kept.is_probe) == (False, False, "", False)
    assert readings.malformed == 0


@pytest.mark.parametrize(
    ("kind", "parent", "fields", "awaits"),
    [
        (Span.SPAN_KIND_CONSUMER, b"p" * 8, {}, True),
        (Span.SPAN_KIND_PRODUCER, b"p" * 8, {}, True),
        (Span.SPAN_KIND_CONSUMER, b"", {}, False),
        (Span.SPAN_KIND_SERVER, b"p" * 8, {}, False),
        (Span.SPAN_KIND_CONSUMER, b"p" * 8, {"status": {"code": 2}}, False),
    ],
    ids=["process", "send", "batch", "server", "failed"],
)
def test_what_always_comes_with_its_parent_awaits_it(kind: Any, parent: bytes, fields: Any, awaits: bool) -> None:
    (reading,) = otlp.read(request(span({}, kind=kind, parent_span_id=parent, **fields))).spans

    assert (reading.span.awaits_parent, reading.span.parent_id) == (awaits, parent)


def test_a_span_keeps_what_its_trace_is_chosen_by() -> None:
    links = [{"trace_id": bytes([number]) * 16} for number in range(200)] + [{"trace_id": b"short"}]
    attributes: Attributes = {"penstock.deployment.arm": "canary"}
    probe = KeyValue(key="penstock.probe", value=AnyValue(bool_value=True))
    told = span(attributes, links=links)
    told.attributes.append(probe)

    (reading,) = otlp.read(request(told)).spans

    assert (reading.span.is_canary, reading.span.is_probe) == (True, True)
    assert reading.span.linked == tuple(bytes([number]) * 16 for number in range(otlp.MAX_LINKED))


def test_what_made_a_span_is_kept_once_for_all_its_spans() -> None:
    spans = [span({}, span_id=bytes([number]) * 8) for number in range(1, 5)]
    told = request(*spans)
    told.resource_spans[0].schema_url = "https://opentelemetry.io/schemas/1.30.0"

    readings = otlp.read(told).spans

    (origin,) = {id(reading.span.origin): reading.span.origin for reading in readings}.values()
    assert origin.resource_schema == "https://opentelemetry.io/schemas/1.30.0"
    assert Resource.FromString(origin.resource).attributes["service.name"].string_value == "penstock-inference"
    assert sum(reading.span.origin_share for reading in readings) == pytest.approx(origin.size_bytes, abs=4)


def test_what_a_resource_says_is_made_printable() -> None:
    told = request(span(BATCH))
    told.resource_spans[0].resource.attributes["service.instance.id"].string_value = "node\0-1" + "x" * 300

    (reading,) = otlp.read(told).spans

    assert isinstance(reading.observation, Batch)
    assert reading.observation.instance == "node\ufffd-1" + "x" * 249


def test_a_resource_is_kept_once_for_all_its_scopes_and_empty_ones_cost_nothing() -> None:
    told = request(span({}), span({}, span_id=b"1" * 8))
    scopes = told.resource_spans[0].scope_spans
    scopes.add(spans=[span({}, span_id=b"2" * 8).SerializeToString()])
    for _ in range(1_000):
        scopes.add()

    readings = otlp.read(told).spans

    assert [reading.span.span_id for reading in readings] == [b"s" * 8, b"1" * 8, b"2" * 8]
    assert len({id(reading.span.origin.resource) for reading in readings}) == 1
    assert len({id(reading.span.origin) for reading in readings}) == 2
    assert otlp.holder_count(told, most=9) == 1_003


def test_an_endless_resource_is_refused_with_its_spans() -> None:
    told = request(span({}), span({}))
    told.resource_spans[0].resource.attributes["essay"].string_value = "x" * (1 << 17)

    readings = otlp.read(told)

    assert (readings.malformed, readings.spans) == (2, [])
    assert "a resource and its scope have" in readings.error


MALFORMED: dict[str, tuple[Attributes, dict[str, Any]]] = {
    "short trace id": ({}, {"trace_id": b"t" * 15}),
    "no trace id": ({}, {"trace_id": b""}),
    "zero trace id": ({}, {"trace_id": bytes(16)}),
    "zero span id": ({}, {"span_id": bytes(8)}),
    "long span id": ({}, {"span_id": b"s" * 9}),
    "odd parent": ({}, {"parent_span_id": b"p" * 4}),
    "ends before it starts": ({}, {"start_time_unix_nano": 3_000}),
    "no model": ({"penstock.model.name": ""}, {}),
    "no rows": ({"penstock.batch.rows": 0}, {}),
    "negative time": ({"penstock.compute.infer_ns": -1}, {}),
    "no requests": ({"penstock.requests.status": b""}, {}),
    "one wait too few": ({"penstock.requests.wait_us": b"\0" * 4}, {}),
    "half a total": ({"penstock.requests.total_us": b"\0" * 7}, {}),
    "trace ids of another size": ({"penstock.requests.trace_id": b"a" * 16}, {}),
    "confidence of one": ({"penstock.requests.confidence": b"\0" * 4}, {}),
    "half a norm": ({"penstock.requests.norm": b"\0" * 7}, {}),
    "more sketches than requests": ({"penstock.inputs.sampled": b"\0" * 12}, {}),
    "no sketch": ({"penstock.inputs.sketch": b""}, {}),
    "half a sketch": ({"penstock.inputs.sketch": b"\0" * 7}, {}),
    "an endless sketch": ({"penstock.inputs.sketch": b"\0" * 1_000}, {}),
    "sketches of nobody": ({"penstock.inputs.sampled": b""}, {}),
    "arm of control characters": ({"penstock.deployment.arm": "a\0"}, {}),
    "array as text": ({"penstock.requests.wait_us": "12345678"}, {}),
    "rows as text": ({"penstock.batch.rows": "4"}, {}),
    "model as number": ({"penstock.model.name": 4}, {}),
    "model name of control characters": ({"penstock.model.name": "a\0b"}, {}),
    "endless model name": ({"penstock.model.name": "m" * 10_000}, {}),
}


@pytest.mark.parametrize(("changed", "fields"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_span_is_refused_and_its_neighbours_are_not(changed: Attributes, fields: dict[str, Any]) -> None:
    good = span(BATCH, span_id=b"12345678")

    readings = otlp.read(request(span({**BATCH, **changed}, **fields), good))

    assert readings.malformed == 1
    assert readings.error
    assert [reading.span.span_id for reading in readings.spans] == [b"12345678"]


@pytest.mark.parametrize(
    "raw", [b"\xff", span(BATCH).SerializeToString()[:-1], b"\x0a\x10" + b"t" * 16 + b"\x4a\x03\x0a\x01\xff"]
)
def test_bytes_that_are_no_span_are_refused_and_its_neighbours_are_not(raw: bytes) -> None:
    told = request(span(BATCH))
    told.resource_spans[0].scope_spans[0].spans.append(raw)

    readings = otlp.read(told)

    assert (len(readings.spans), readings.malformed) == (1, 1)
    assert "are no span" in readings.error


@pytest.mark.parametrize("weight", [0, -5, 10**12])
def test_an_implausible_weight_is_refused(weight: int) -> None:
    rejected = span({**REJECTED, "penstock.sample.weight": weight}, kind=Span.SPAN_KIND_SERVER)

    assert otlp.read(request(rejected)).malformed == 1


ANY_VALUES = st.recursive(
    st.one_of(
        st.binary(max_size=80).map(lambda raw: AnyValue(bytes_value=raw)),
        st.text(max_size=20).map(lambda text: AnyValue(string_value=text)),
        st.integers(-(2**63), 2**63 - 1).map(lambda number: AnyValue(int_value=number)),
        st.floats().map(lambda number: AnyValue(double_value=number)),
        st.just(AnyValue()),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda values: AnyValue(array_value={"values": values})),
    max_leaves=4,
)


@given(
    attributes=st.dictionaries(st.sampled_from([*READERS, "other"]), ANY_VALUES, max_size=16),
    trace_id=st.binary(max_size=20),
    times=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    kind=st.integers(0, 7),
)
def test_whatever_comes_in_is_read_or_refused(
    attributes: dict[str, AnyValue], trace_id: bytes, times: tuple[int, int], kind: int
) -> None:
    odd = Span(
        trace_id=trace_id,
        span_id=b"s" * 8,
        kind=kind,
        start_time_unix_nano=times[0],
        end_time_unix_nano=times[1],
        attributes=[KeyValue(key=key, value=one) for key, one in attributes.items()],
    )

    readings = otlp.read(request(odd))

    assert len(readings.spans) + readings.malformed == 1


@given(st.integers(1, 40).flatmap(lambda size: st.tuples(
    st.binary(min_size=size, max_size=size), st.binary(min_size=4 * size, max_size=4 * size),
    st.integers(1, 2**63 - 1), st.tuples(*[st.integers(0, 2**63 - 1)] * 3), st.integers(0, 2**64 - 1))))  # fmt: skip
def test_whatever_a_batch_says_can_be_counted(batch: tuple[bytes, bytes, int, tuple[int, int, int], int]) -> None:
    status, numbers, rows, compute_ns, end_ns = batch
    attributes: Attributes = {
        **BATCH,
        "penstock.batch.rows": rows,
        **{
            f"penstock.compute.{part}_ns": ns for part, ns in zip(("input", "infer", "output"), compute_ns, strict=True)
        },
        **{f"penstock.requests.{name}": numbers for name in ("confidence", "class", "entropy", "norm", "length")},
        "penstock.requests.nonfinite": numbers,
        "penstock.inputs.sampled": numbers,
        "penstock.inputs.sketch": numbers * 3,
        "penstock.requests.trace_id": numbers * 4,
        "penstock.requests.wait_us": numbers,
        "penstock.requests.total_us": numbers[::-1],
        "penstock.requests.status": status,
    }
    (reading,) = otlp.read(request(span(attributes, start_time_unix_nano=0, end_time_unix_nano=end_ns))).spans
    assert isinstance(reading.observation, Batch)

    (block,) = gather([reading.observation], [], now_ns=10**18)

    assert block.requests == len(status) - status.count(ABANDONED)
    assert block.counts.sum() == 5 * len(status)
