"""Reads OTLP trace requests: what comes in from outside is checked here, span by span, and trusted afterwards.

Reading attributes is what intake costs, so only those in ``_READERS`` are read; all others stay serialised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from services.monitor.domain.blocks import Batch, Rejection
from services.monitor.domain.outcomes import outcome_of
from services.monitor.domain.ring import KeptSpan

MAX_REQUESTS_PER_BATCH = 65_536
MAX_SPAN_BYTES = 4 << 20
MAX_WEIGHT = 1_000_000
MAX_NAME_LENGTH = 256

_READERS = {
    "penstock.model.name": "string_value",
    "penstock.model.version": "string_value",
    "penstock.settled_by": "string_value",
    "penstock.sample.weight": "int_value",
    "penstock.batch.rows": "int_value",
    "penstock.compute.input_ns": "int_value",
    "penstock.compute.infer_ns": "int_value",
    "penstock.compute.output_ns": "int_value",
    "penstock.requests.trace_id": "bytes_value",
    "penstock.requests.wait_us": "bytes_value",
    "penstock.requests.total_us": "bytes_value",
    "penstock.requests.status": "bytes_value",
    "rpc.response.status_code": "string_value",
    "http.response.status_code": "int_value",
    "error.type": "string_value",
}
"""Attributes that are read, and the field of ``AnyValue`` that each is in."""

_PACKED = {"trace_id": 16, "wait_us": 4, "total_us": 4, "status": 1}
"""Bytes per request of the packed arrays ``penstock.requests.…``."""


class MalformedSpanError(ValueError):
    """A span isn't what OTLP or docs/telemetry.md says."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One span that came in; ``observation`` is what the figures count, if it is for them."""

    span: KeptSpan
    is_ours: bool
    observation: Batch | Rejection | None = None


@dataclass(slots=True)
class Readings:
    """What one request held. ``error`` says what is wrong with the first malformed span."""

    spans: list[Reading] = field(default_factory=list)
    malformed: int = 0
    error: str = ""
    forwardable: ExportTraceServiceRequest = field(default_factory=ExportTraceServiceRequest)
    """The well-formed spans made by Penstock, under their resources."""
    forwardable_count: int = 0


def span_count(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def read(request: ExportTraceServiceRequest) -> Readings:
    """Read a request. A malformed span is counted and left out; its neighbours are not harmed.

    The request belongs to the readings afterwards: where all of it is forwardable, ``forwardable`` is the request.
    """
    readings = Readings()
    parts: list[tuple[Any, Any, list[Any]]] = []
    for group in request.resource_spans:
        service, instance = _identity(group.resource)
        is_ours = service.startswith("penstock-")
        for scope in group.scope_spans:
            accepted = []
            for span in scope.spans:
                try:
                    readings.spans.append(_read_span(span, service=service, instance=instance, is_ours=is_ours))
                    accepted.append(span)
                except MalformedSpanError as error:
                    readings.malformed += 1
                    readings.error = readings.error or str(error)
            if is_ours and accepted:
                readings.forwardable_count += len(accepted)
                parts.append((group, scope, accepted))
    if readings.forwardable_count == span_count(request):
        readings.forwardable = request
    else:
        for group, scope, accepted in parts:
            copy = readings.forwardable.resource_spans.add(resource=group.resource, schema_url=group.schema_url)
            copy.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url, spans=accepted)
    return readings


def _identity(resource: Any) -> tuple[str, str]:
    service = instance = ""
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            service = attribute.value.string_value
        elif attribute.key == "service.instance.id":
            instance = attribute.value.string_value
    return service[:MAX_NAME_LENGTH], instance[:MAX_NAME_LENGTH]


def _read_span(span: Any, *, service: str, instance: str, is_ours: bool) -> Reading:
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != 16 or not any(trace_id) or len(span_id) != 8 or not any(span_id):
        raise MalformedSpanError(
            f"got trace id {trace_id[:32].hex()!r} and span id {span_id[:16].hex()!r}, "
            "expected 16 and 8 bytes that aren't all zero"
        )
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if end_ns < start_ns:
        raise MalformedSpanError(f"span {span_id.hex()} ends {start_ns - end_ns} ns before it starts")
    raw = span.SerializeToString()
    if len(raw) > MAX_SPAN_BYTES:
        raise MalformedSpanError(f"span {span_id.hex()} has {len(raw)} bytes, expected at most {MAX_SPAN_BYTES}")
    values = _values(span) if is_ours else {}
    model, version = values.get("penstock.model.name", ""), values.get("penstock.model.version", "")
    kept = KeptSpan(
        trace_id=trace_id,
        span_id=span_id,
        model=model,
        version=version,
        service=service,
        start_ns=start_ns,
        end_ns=end_ns,
        has_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        raw=raw,
    )
    return Reading(kept, is_ours, _observation(kept, values, instance=instance, kind=span.kind))


def _values(span: Any) -> dict[str, Any]:
    values = {}
    for attribute in span.attributes:
        name = attribute.key
        reader = _READERS.get(name)
        if reader is not None:
            if attribute.value.WhichOneof("value") != reader:
                raise MalformedSpanError(f"attribute {name} is no {reader.removesuffix('_value')}")
            values[name] = getattr(attribute.value, reader)
    for name in ("penstock.model.name", "penstock.model.version"):
        text = values.get(name, "")
        if len(text) > MAX_NAME_LENGTH or not text.isprintable():
            raise MalformedSpanError(f"attribute {name} is no printable text of at most {MAX_NAME_LENGTH} characters")
    return values


def _observation(span: KeptSpan, values: dict[str, Any], *, instance: str, kind: int) -> Batch | Rejection | None:
    if "penstock.requests.status" in values:
        return _batch(span, values, instance=instance)
    if kind == trace_pb2.Span.SPAN_KIND_SERVER and values.get("penstock.settled_by") == "gateway":
        return _rejection(span, values)
    return None


def _batch(span: KeptSpan, values: dict[str, Any], *, instance: str) -> Batch:
    status: bytes = values["penstock.requests.status"]
    rows = values.get("penstock.batch.rows", 0)
    compute_ns = tuple(values.get(f"penstock.compute.{part}_ns", 0) for part in ("input", "infer", "output"))
    if not span.model or not span.version:
        raise MalformedSpanError(f"batch span {span.span_id.hex()} names no model and version")
    if not 1 <= len(status) <= MAX_REQUESTS_PER_BATCH or rows < 1 or min(compute_ns) < 0:
        raise MalformedSpanError(
            f"batch span {span.span_id.hex()} has {len(status)} requests, {rows} rows, compute times {compute_ns} ns; "
            f"expected 1 to {MAX_REQUESTS_PER_BATCH} requests, 1 or more rows and no negative time"
        )
    arrays = {name: values.get(f"penstock.requests.{name}", b"") for name in _PACKED}
    for name, size in _PACKED.items():
        if len(arrays[name]) != size * len(status):
            raise MalformedSpanError(
                f"attribute penstock.requests.{name} has {len(arrays[name])} bytes, "
                f"expected {size} for each of {len(status)} requests"
            )
    return Batch(
        model=span.model,
        version=span.version,
        instance=instance,
        trace_id=span.trace_id,
        end_ns=span.end_ns,
        rows=rows,
        compute_ns=compute_ns,
        wait_us=arrays["wait_us"],
        total_us=arrays["total_us"],
        status=status,
        trace_ids=arrays["trace_id"],
    )


def _rejection(span: KeptSpan, values: dict[str, Any]) -> Rejection | None:
    """None for a request that names no model: there is no series to count it in."""
    weight = values.get("penstock.sample.weight", 1)
    if not 1 <= weight <= MAX_WEIGHT:
        raise MalformedSpanError(f"attribute penstock.sample.weight is {weight}, expected 1 to {MAX_WEIGHT}")
    if not span.model:
        return None
    outcome = outcome_of(
        rpc_status=values.get("rpc.response.status_code", ""),
        error_type=values.get("error.type", ""),
        http_status=values.get("http.response.status_code", 0),
    )
    return Rejection(span.model, span.version, span.trace_id, span.end_ns, outcome, weight)
