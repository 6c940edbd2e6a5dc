"""OTLP's JSON is read as its protobuf is, and what is none is refused with where it went wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.common.errors import InvalidArgumentError
from services.monitor import otlp, otlp_json
from tests.unit.monitor.test_otlp import ANY_VALUES, BATCH, span

SPECIFIED = """{"resourceSpans": [{
  "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]},
  "scopeSpans": [{
    "scope": {"name": "my.library", "version": "1.0.0",
              "attributes": [{"key": "my.scope.attribute", "value": {"stringValue": "some scope attribute"}}]},
    "spans": [{
      "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174",
      "parentSpanId": "eee19b7ec3c1b173", "flags": 1,
      "name": "I'm a server span", "kind": 2, "newField": {"of": ["a", "later", "version"]},
      "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": 1544712661000000000,
      "attributes": [{"key": "http.response.status_code", "value": {"intValue": "500"}},
                     {"key": "some.bytes", "value": {"bytesValue": "AAEC"}}],
      "links": [{"traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175"}],
      "status": {"code": 2}}]}]}]}"""
"""After the example of the OTLP specification."""


def as_json(request: ExportTraceServiceRequest) -> bytes:
    """As OTLP writes it: ids in hexadecimal digits, enums as numbers."""
    value = MessageToDict(request, use_integers_for_enums=True)
    spans = zip(
        [one for group in request.resource_spans for scope in group.scope_spans for one in scope.spans],
        [one for group in value.get("resourceSpans", ()) for scope in group["scopeSpans"] for one in scope["spans"]],
        strict=True,
    )
    for message, fields in spans:
        fields |= {"traceId": message.trace_id.hex(), "spanId": message.span_id.hex()}
        if message.parent_span_id:
            fields["parentSpanId"] = message.parent_span_id.hex()
        for link, linked in zip(message.links, fields.get("links", ()), strict=True):
            linked |= {"traceId": link.trace_id.hex(), "spanId": link.span_id.hex()}
    return json.dumps(value).encode()


def test_the_specification_s_example_is_understood() -> None:
    (reading,) = otlp.read(otlp_json.request_of(SPECIFIED.encode())).spans

    kept = reading.span
    assert (kept.trace_id.hex(), kept.span_id.hex()) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    assert (kept.parent_id.hex(), kept.service, kept.has_error) == ("eee19b7ec3c1b173", "my.service", True)
    assert (kept.start_ns, kept.end_ns) == (1544712660000000000, 1544712661000000000)
    assert b"my.scope.attribute" in kept.origin.scope


@given(
    attributes=st.dictionaries(st.text(max_size=8), ANY_VALUES, max_size=5),
    name=st.text(max_size=20),
    ids=st.tuples(st.binary(max_size=17), st.binary(max_size=9), st.binary(max_size=9)),
    times=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    links=st.lists(st.tuples(st.binary(max_size=17), st.binary(max_size=9)), max_size=3),
    kind=st.integers(0, 5),
)
def test_json_and_protobuf_say_the_same(
    attributes: dict[str, Any],
    name: str,
    ids: tuple[bytes, bytes, bytes],
    times: tuple[int, int],
    links: list[tuple[bytes, bytes]],
    kind: Any,
) -> None:
    sent = span(
        {},
        name=name,
        trace_id=ids[0],
        span_id=ids[1],
        parent_span_id=ids[2],
        start_time_unix_nano=times[0],
        end_time_unix_nano=times[1],
        kind=kind,
        links=[{"trace_id": trace, "span_id": one} for trace, one in links],
    )
    for key, value in attributes.items():
        sent.attributes.add(key=key, value=value)
    request = ExportTraceServiceRequest()
    request.resource_spans.add(schema_url="s").scope_spans.add(spans=[sent], schema_url="t", scope={"name": "x"})

    read = otlp_json.request_of(as_json(request))

    arrived = ExportTraceServiceRequest.FromString(read.SerializeToString())
    assert arrived.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)


def test_our_batch_spans_may_come_as_json() -> None:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "penstock-inference"
    group.scope_spans.add(spans=[span(BATCH)])

    (by_json,) = otlp.read(otlp_json.request_of(as_json(request))).spans
    (by_protobuf,) = otlp.read(TraceRequest.FromString(request.SerializeToString())).spans

    assert by_json.observation == by_protobuf.observation


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "got JSON that is a list"),
        (b"[" * 200_000, "no JSON"),
        (b'{"resourceSpans": {}}', "resourceSpans is a dict, expected a list"),
        (b'{"resourceSpans": [7]}', "resourceSpans[0] is a int, expected an object"),
        (b'{"resourceSpans": [{"scopeSpans": "x"}]}', "resourceSpans[0].scopeSpans is a str"),
        (b'{"resourceSpans": [{"resource": []}]}', "resourceSpans[0].resource"),
        (b'{"resourceSpans": [{"resource": {"attributes": [{"key": 7}]}}]}', "resourceSpans[0].resource can't be read"),
        (b'{"resourceSpans": [{"schemaUrl": 7}]}', "resourceSpans[0].schemaUrl is a int, expected a text"),
        (b'{"resourceSpans": [{"schemaUrl": "\\ud800"}]}', "half of a surrogate pair"),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{}, {"traceId": "xyz"}]}]}]}',
            "scopeSpans[0].spans[1].traceId is 'xyz', expected hexadecimal digits",
        ),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}', "traceId is 7"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": {}}]}]}]}', "spans[0] can't be read"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": -1}]}]}]}', "spans[0] can't be read"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"links": [7]}]}]}]}', "spans[0].links[0] is a int"),
    ],
)
def test_what_is_no_request_is_refused_with_the_place(body: bytes, where: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        otlp_json.request_of(body)

    assert where in error.value.message


def test_values_in_values_end_somewhere() -> None:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"key": "k", "value": value}]}]}]}]}

    with pytest.raises(InvalidArgumentError, match="can't be read"):
        otlp_json.request_of(json.dumps(body).encode())


FIELDS = st.sampled_from([
    "resourceSpans", "scopeSpans", "spans", "resource", "scope", "attributes", "key", "value", "traceId", "spanId",
    "parentSpanId", "links", "events", "status", "code", "kind", "name", "startTimeUnixNano", "endTimeUnixNano",
    "stringValue", "intValue", "doubleValue", "bytesValue", "arrayValue", "values", "schemaUrl", "flags",
])  # fmt: skip
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=30,
)


@given(ODD_JSON, st.integers(0, 3))
def test_whatever_json_comes_is_read_or_refused(value: Any, depth: int) -> None:
    for name in ("spans", "scopeSpans", "resourceSpans")[3 - depth :]:
        value = {name: [value]}
    body = json.dumps(value).encode(errors="replace")

    try:
        request = otlp_json.request_of(body)
    except InvalidArgumentError:
        return
    readings = otlp.read(request)
    assert len(readings.spans) + readings.malformed == otlp.span_count(request)


@given(st.binary(max_size=200).filter(lambda body: b"{" not in body))
def test_whatever_bytes_come_are_refused_as_json(body: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        otlp_json.request_of(body)
