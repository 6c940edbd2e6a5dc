"""Our encoding of spans says what OpenTelemetry's own classes read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from services.common.span_encoding import (
    AttributeValue,
    SpanKind,
    encode_attributes,
    encode_origin,
    encode_request,
    encode_span,
)
from services.common.trace_context import TraceContext

INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 127, 128, 2**14, 2**21 - 1, 2**21, 2**35])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
SCALARS = TEXTS | st.booleans() | INT64 | st.floats(allow_nan=False) | st.binary(max_size=300)
ATTRIBUTES: st.SearchStrategy[dict[str, AttributeValue]] = st.dictionaries(
    TEXTS, SCALARS | st.lists(TEXTS, max_size=3) | st.lists(INT64, max_size=3), max_size=5
)
CONTEXTS = st.builds(
    TraceContext,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    is_sampled=st.just(True),
)
INSTANTS = st.integers(0, 2**64 - 1)
SPANS = st.fixed_dictionaries(
    {
        "name": TEXTS,
        "context": CONTEXTS,
        "kind": st.sampled_from(SpanKind),
        "start_ns": INSTANTS,
        "end_ns": INSTANTS,
        "parent": st.none() | CONTEXTS,
        "attributes": ATTRIBUTES,
        "links": st.lists(CONTEXTS, max_size=3),
        "error": st.none() | TEXTS,
    }
)


def value_of(value: AttributeValue) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=map(value_of, value)))


def attributes_of(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(value)) for key, value in attributes.items()]


def span_of(told: Mapping[str, Any]) -> Span:
    context, parent, error = told["context"], told["parent"], told["error"]
    return Span(
        trace_id=context.trace_id,
        span_id=context.span_id,
        parent_span_id=b"" if parent is None else parent.span_id,
        name=told["name"],
        kind=told["kind"],
        start_time_unix_nano=told["start_ns"],
        end_time_unix_nano=told["end_ns"],
        attributes=attributes_of(told["attributes"]),
        links=[Span.Link(trace_id=link.trace_id, span_id=link.span_id) for link in told["links"]],
        status=None if error is None else Status(code=Status.STATUS_CODE_ERROR, message=error),
    )


@given(st.lists(SPANS, max_size=3), ATTRIBUTES)
def test_a_request_reads_as_it_was_told(spans: Sequence[dict[str, Any]], resource: dict[str, AttributeValue]) -> None:
    origin = encode_origin(resource, scope="penstock", version="1.2")

    encoded = encode_request(origin, [encode_span(span["name"], **_rest(span)) for span in spans])

    scope = InstrumentationScope(name="penstock", version="1.2")
    assert ExportTraceServiceRequest.FromString(encoded) == ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=attributes_of(resource)),
                scope_spans=[ScopeSpans(scope=scope, spans=map(span_of, spans))],
            )
        ]
    )


@given(SPANS, ATTRIBUTES)
def test_attributes_may_be_encoded_beforehand(span: dict[str, Any], more: dict[str, AttributeValue]) -> None:
    encoded = encode_span(span["name"], **_rest(span), more=encode_attributes(more))

    (read,) = ScopeSpans.FromString(encoded).spans
    assert list(read.attributes) == attributes_of(more) + attributes_of(span["attributes"])


def test_half_a_surrogate_pair_does_no_harm() -> None:
    encoded = encode_span(
        "\ud800",
        TraceContext.new_root(is_sampled=True),
        kind=SpanKind.SERVER,
        start_ns=1,
        end_ns=2,
        attributes={"k": "a\udfffb"},
        error="\ud800",
    )

    (span,) = ScopeSpans.FromString(encoded).spans
    assert (span.name, span.attributes[0].value.string_value, span.status.message) == ("?", "a?b", "?")


def _rest(span: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in span.items() if key != "name"}
