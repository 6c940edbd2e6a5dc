"""What is forwarded: each span byte by byte as it came, with what made it, in requests that receivers take."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.monitor import otlp
from services.monitor.adapters import forwarder
from tests.unit.monitor.test_otlp import ANY_VALUES, span


@given(
    services=st.lists(st.sampled_from(["shop", "penstock-gateway", "é"]), min_size=1, max_size=4),
    attributes=st.dictionaries(st.text(max_size=9), ANY_VALUES, max_size=3),
    name=st.text(max_size=9),
    unknown=st.sampled_from([b"", b"\xfa\x3e\x03new"]),
)
def test_reading_and_encoding_lose_nothing(
    services: list[str], attributes: dict[str, AnyValue], name: str, unknown: bytes
) -> None:
    sent = ExportTraceServiceRequest()
    for number, service in enumerate(services):
        group = sent.resource_spans.add(schema_url=name)
        group.resource.attributes.add(key="service.name").value.string_value = service
        for key, value in sorted(attributes.items()):
            if key != "service.name":
                group.resource.attributes.add(key=key, value=value)
        group.resource.dropped_attributes_count = number
        one = span({}, span_id=bytes([number + 1]) * 8, name=name, flags=0x101, trace_state="a=b")
        one.MergeFromString(unknown)
        group.scope_spans.add(spans=[one], schema_url=service, scope={"name": name})
    readings = otlp.read(TraceRequest.FromString(sent.SerializeToString()))

    arrived = ExportTraceServiceRequest.FromString(forwarder.encode(one.span for one in readings.spans))

    assert readings.malformed == 0
    assert _by_span(arrived) == _by_span(sent)


def _by_span(request: ExportTraceServiceRequest) -> dict[bytes, tuple[object, ...]]:
    return {
        one.SerializeToString(): (
            {attribute.key: attribute.value.SerializeToString() for attribute in group.resource.attributes},
            group.resource.dropped_attributes_count,
            group.schema_url,
            scope.scope.SerializeToString(),
            scope.schema_url,
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for one in scope.spans
    }


def test_requests_hold_what_receivers_take() -> None:
    def kept(size: int) -> otlp.KeptSpan:
        return otlp.KeptSpan(b"t" * 16, b"s" * 8, "", "", "", 0, 1, False, bytes(size))

    sizes = [[len(one.raw) for one in parcel] for parcel in forwarder._parcels([*map(kept, [9] * 600)])]
    assert [len(one) for one in sizes] == [512, 88]
    large = [len(parcel) for parcel in forwarder._parcels([*map(kept, (1 << 19, 1 << 19, 9, 3 << 20, 9))])]
    assert large == [2, 1, 1, 1]
    assert list(forwarder._parcels([])) == []
