"""penstock.otlp.v1 declares what OpenTelemetry does: the same names, numbers and wire types."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from penstock.otlp.v1 import trace_pb2 as ours

THEIRS = {
    "TraceRequest": trace_service_pb2.ExportTraceServiceRequest,
    "ResourceSpans": trace_pb2.ResourceSpans,
    "Resource": resource_pb2.Resource,
    "ScopeSpans": trace_pb2.ScopeSpans,
    "Span": trace_pb2.Span,
    "Span.Event": trace_pb2.Span.Event,
    "Span.Link": trace_pb2.Span.Link,
    "Status": trace_pb2.Status,
    "AnyValue": common_pb2.AnyValue,
    "ArrayValue": common_pb2.ArrayValue,
    "KeyValueList": common_pb2.KeyValueList,
    "Span.AttributesEntry": common_pb2.KeyValue,
}


def descriptor_of(name: str) -> Descriptor:
    outer, _, inner = name.partition(".")
    descriptor: Descriptor = ours.DESCRIPTOR.message_types_by_name[outer]
    return descriptor.nested_types_by_name[inner] if inner else descriptor


def wire_type_of(field: FieldDescriptor) -> str:
    match field.type:
        case FieldDescriptor.TYPE_BYTES | FieldDescriptor.TYPE_STRING | FieldDescriptor.TYPE_MESSAGE:
            return "length"
        case FieldDescriptor.TYPE_FIXED64 | FieldDescriptor.TYPE_DOUBLE:
            return "64 bits"
        case FieldDescriptor.TYPE_FIXED32:
            return "32 bits"
        case _:
            return "varint"


@pytest.mark.parametrize("name", THEIRS)
def test_every_field_is_theirs(name: str) -> None:
    theirs = THEIRS[name].DESCRIPTOR.fields_by_number
    for field in descriptor_of(name).fields:
        other = theirs[field.number]
        assert (field.name, wire_type_of(field)) == (other.name, wire_type_of(other))
        assert name == "Span.AttributesEntry" or field.is_repeated == other.is_repeated


def test_no_message_is_left_out() -> None:
    assert {name for name in THEIRS if "." not in name} == set(ours.DESCRIPTOR.message_types_by_name)
