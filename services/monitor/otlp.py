"""Reads OTLP trace requests: what comes in from outside is checked here, span by span, and trusted afterwards.

Reading attributes is what intake costs: they are looked up by name, and only those that figures are made of.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from penstock.otlp.v1.trace_pb2 import Resource, ResourceSpans, ScopeSpans, Span, TraceRequest
from services.monitor.domain.blocks import STABLE, Batch, Pulse, Rejection
from services.monitor.domain.foreign import Call
from services.monitor.domain.outcomes import CODES, outcome_of
from services.monitor.domain.probe_reports import ProbeReport
from services.monitor.domain.ring import KeptSpan, Origin
from services.monitor.foreign_spans import call_of
from services.monitor.probe_spans import PROBE_READERS, report_of

MAX_REQUESTS_PER_BATCH = 65_536
MAX_SPAN_BYTES = 4 << 20
MAX_ORIGIN_BYTES = 64 << 10
"""Of a resource and a scope: a single span may keep both in memory."""
MAX_LINKED = 128
MAX_WEIGHT = 1_000_000
MAX_NAME_LENGTH = 256
MAX_WIDTH = 64
"""Of a sketch of inputs."""

_SERVER = 2
"""OTLP's SPAN_KIND_SERVER."""
_ERROR = 2
"""OTLP's STATUS_CODE_ERROR."""
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_READERS = {
    "penstock.model.name": "string_value",
    "penstock.model.version": "string_value",
    "penstock.settled_by": "string_value",
    "penstock.sample.weight": "int_value",
    "penstock.batch.rows": "int_value",
    "penstock.compute.input_ns": "int_value",
    "penstock.compute.infer_ns": "int_value",
    "penstock.compute.output_ns": "int_value",
    "penstock.batches.requests": "bytes_value",
    "penstock.batches.rows": "bytes_value",
    "penstock.batches.input_ns": "bytes_value",
    "penstock.batches.infer_ns": "bytes_value",
    "penstock.batches.output_ns": "bytes_value",
    "penstock.requests.trace_id": "bytes_value",
    "penstock.requests.wait_us": "bytes_value",
    "penstock.requests.total_us": "bytes_value",
    "penstock.requests.status": "bytes_value",
    "penstock.requests.confidence": "bytes_value",
    "penstock.requests.class": "bytes_value",
    "penstock.requests.entropy": "bytes_value",
    "penstock.requests.norm": "bytes_value",
    "penstock.requests.length": "bytes_value",
    "penstock.requests.nonfinite": "bytes_value",
    "penstock.inputs.kind": "string_value",
    "penstock.inputs.sampled": "bytes_value",
    "penstock.inputs.sketch": "bytes_value",
    "penstock.deployment.arm": "string_value",
    "penstock.replica.state": "string_value",
    "penstock.replica.running_ns": "int_value",
    "penstock.replica.running_requests": "int_value",
    "rpc.response.status_code": "string_value",
    "http.response.status_code": "int_value",
    "error.type": "string_value",
    "penstock.probe": "bool_value",
    **PROBE_READERS,
    "penstock.queue.delivery_count": "int_value",
}
"""Attributes that are read, and the field of ``AnyValue`` that each is in."""


class MalformedSpanError(ValueError):
    """A span isn't what OTLP or docs/telemetry.md says."""


@dataclass(slots=True)
class Reading:
    """One span that came in; ``observation`` is what the figures count, if it is for them."""

    span: KeptSpan
    is_ours: bool
    observation: Batch | Rejection | Pulse | Call | ProbeReport | None = None


@dataclass(slots=True)
class Readings:
    """What one request held. ``error`` says what is wrong with the first malformed span."""

    spans: list[Reading] = field(default_factory=list)
    malformed: int = 0
    error: str = ""

    def refuse(self, error: MalformedSpanError, *, spans: int = 1) -> None:
        self.malformed += spans
        self.error = self.error or str(error)


def span_count(request: TraceRequest) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def read(request: TraceRequest) -> Readings:
    """Read a request. A malformed span is counted and left out; its neighbours are not harmed."""
    readings = Readings()
    for group in request.resource_spans:
        service, instance = _identity(group.resource)
        is_ours = service.startswith("penstock-")
        for scope in group.scope_spans:
            try:
                origin = _origin(group, scope)
            except MalformedSpanError as error:
                readings.refuse(error, spans=len(scope.spans))
                continue
            share = origin.size_bytes // max(1, len(scope.spans))
            for raw in scope.spans:
                try:
                    reading = _read_span(raw, service=service, instance=instance, is_ours=is_ours)
                except MalformedSpanError as error:
                    readings.refuse(error)
                else:
                    reading.span.origin, reading.span.origin_share = origin, share
                    readings.spans.append(reading)
    return readings


def _origin(group: ResourceSpans, scope: ScopeSpans) -> Origin:
    resource = group.resource.SerializeToString(deterministic=True)
    origin = Origin(resource, group.schema_url, scope.scope, scope.schema_url)
    if origin.size_bytes > MAX_ORIGIN_BYTES:
        raise MalformedSpanError(
            f"a resource and its scope have {origin.size_bytes} bytes, expected at most {MAX_ORIGIN_BYTES}"
        )
    return origin


def _identity(resource: Resource) -> tuple[str, str]:
    service, instance = (
        resource.attributes[name].string_value[:MAX_NAME_LENGTH] if name in resource.attributes else ""
        for name in ("service.name", "service.instance.id")
    )
    return service, instance


def _read_span(raw: bytes, *, service: str, instance: str, is_ours: bool) -> Reading:
    if len(raw) > MAX_SPAN_BYTES:
        raise MalformedSpanError(f"a span has {len(raw)} bytes, expected at most {MAX_SPAN_BYTES}")
    try:
        span = Span.FromString(raw)
    except DecodeError:
        raise MalformedSpanError(f"{len(raw)} bytes are no span: {raw[:32].hex()}…") from None
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != 16 or trace_id == _NO_TRACE or len(span_id) != 8 or span_id == _NO_SPAN:
        raise MalformedSpanError(
            f"got trace id {trace_id[:32].hex()!r} and span id {span_id[:16].hex()!r}, "
            "expected 16 and 8 bytes that aren't all zero"
        )
    if len(span.parent_span_id) not in (0, 8):
        got = len(span.parent_span_id)
        raise MalformedSpanError(f"span {span_id.hex()} has a parent id of {got} bytes, expected 8")
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if end_ns < start_ns:
        raise MalformedSpanError(f"span {span_id.hex()} ends {start_ns - end_ns} ns before it starts")
    values = _Values(span.attributes) if is_ours else _NO_VALUES
    model, version = values.name("penstock.model.name"), values.name("penstock.model.version")
    has_error = span.HasField("status") and span.status.code == _ERROR
    kept = KeptSpan(trace_id, span_id, model, version, service, start_ns, end_ns, has_error, raw, span.parent_span_id)
    if not is_ours:
        kept.is_ours = False
        return Reading(kept, is_ours, call_of(span, service=service, instance=instance, has_error=has_error))
    _mark(kept, span, values)
    return Reading(kept, is_ours, _observation(kept, span, values, instance=instance))


def _observation(
    kept: KeptSpan, span: Span, values: _Values, *, instance: str
) -> Batch | Rejection | Pulse | ProbeReport | None:
    """What a span of ours says to the figures, or the detectors."""
    if "penstock.requests.status" in values.attributes:
        return _batch(kept, values, instance=instance)
    if span.kind == _SERVER and values.read("penstock.settled_by", "") == "gateway":
        return _rejection(kept, values)
    if "penstock.replica.state" in values.attributes:
        return _pulse(kept, values, instance=instance)
    if "penstock.probe.outcome" in values.attributes:
        try:
            return report_of(kept, values.read, values.name, instance=instance)
        except ValueError as error:
            raise MalformedSpanError(f"probe span {kept.span_id.hex()}: {error}") from None
    return None


def _mark(kept: KeptSpan, span: Span, values: _Values) -> None:
    """Note what a trace is chosen by, and what it should have."""
    kept.is_canary = values.read("penstock.deployment.arm", "") == "canary"
    kept.is_probe = values.read("penstock.probe", False)
    # A caller's span, the parent of a SERVER span, goes elsewhere; and of failed requests only those spans are sent
    # that failed, where the request was not sampled.
    kept.awaits_parent = span.kind != _SERVER and not kept.has_error and bool(span.parent_span_id)
    if span.links:
        kept.linked = tuple(link.trace_id for link in span.links[:MAX_LINKED] if len(link.trace_id) == 16)


class _Values:
    """A span's attributes by name."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = attributes

    def read(self, name: str, default: Any) -> Any:
        """Raises MalformedSpanError: the value is of another type."""
        attributes = self.attributes
        if name not in attributes:
            return default
        attribute, reader = attributes[name], _READERS[name]
        value = getattr(attribute, reader)
        if not value and attribute.WhichOneof("value") != reader:
            raise MalformedSpanError(f"attribute {name} is no {reader.removesuffix('_value')}")
        return value

    def name(self, name: str) -> str:
        text: str = self.read(name, "")
        if len(text) > MAX_NAME_LENGTH or not text.isprintable():
            raise MalformedSpanError(f"attribute {name} is no printable text of at most {MAX_NAME_LENGTH} characters")
        return text


_NO_VALUES = _Values({})


def _batch(span: KeptSpan, values: _Values, *, instance: str) -> Batch:
    read = values.read
    status: bytes = read("penstock.requests.status", b"")
    several = _numbers(values, "requests")
    sizes = several or (len(status),)
    if several:
        rows = _numbers(values, "rows", batches=len(sizes))
        input_ns, infer_ns, output_ns = (
            _numbers(values, f"{part}_ns", batches=len(sizes)) for part in ("input", "infer", "output")
        )
    else:
        rows = (read("penstock.batch.rows", 0),)
        input_ns, infer_ns, output_ns = (
            (read(f"penstock.compute.{part}_ns", 0),) for part in ("input", "infer", "output")
        )
    if not span.model or not span.version:
        raise MalformedSpanError(f"batch span {span.span_id.hex()} names no model and version")
    compute_ns = input_ns, infer_ns, output_ns
    is_sound = 1 <= len(status) <= MAX_REQUESTS_PER_BATCH and min(sizes) >= 1 and min(rows) >= 1
    if not is_sound or sum(sizes) != len(status) or min(map(min, compute_ns)) < 0:
        raise MalformedSpanError(
            f"batch span {span.span_id.hex()} has {len(status)} requests, in batches {sizes[:8]} of {rows[:8]} rows, "
            f"compute times {[part[:8] for part in compute_ns]} ns; expected 1 to {MAX_REQUESTS_PER_BATCH} requests, "
            "each batch with 1 or more of them and of rows, and no negative time"
        )
    return Batch(
        span.model,
        span.version,
        instance,
        span.trace_id,
        span.end_ns,
        sizes,
        rows,
        compute_ns,
        _packed(values, "penstock.requests.wait_us", 4, requests=len(status)),
        _packed(values, "penstock.requests.total_us", 4, requests=len(status)),
        status,
        _packed(values, "penstock.requests.trace_id", 16, requests=len(status)),
        values.name("penstock.deployment.arm") or STABLE,
        span.start_ns,
        *_answers(values, requests=len(status)),
        *_sketch(values, requests=len(status)),
        values.name("penstock.inputs.kind"),
        read("penstock.queue.delivery_count", 1),
    )


def _answers(values: _Values, *, requests: int) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes]:
    """What is said of answers, in the order of :class:`Batch`: 4 bytes for each request, or nothing."""

    def packed(name: str) -> bytes:
        return _packed(values, name, 4, requests=requests) if name in values.attributes else b""

    return (
        packed("penstock.requests.confidence"),
        packed("penstock.requests.class"),
        packed("penstock.requests.entropy"),
        packed("penstock.requests.norm"),
        packed("penstock.requests.length"),
        packed("penstock.requests.nonfinite"),
    )


def _sketch(values: _Values, *, requests: int) -> tuple[bytes, bytes]:
    """Numbers of the requests that were sampled, and as many rows of equal width."""
    sampled: bytes = values.read("penstock.inputs.sampled", b"")
    sketch: bytes = values.read("penstock.inputs.sketch", b"")
    count, rest = divmod(len(sampled), 4)
    is_sound = (
        not rest and count <= requests and (not sketch if not count else 4 <= len(sketch) // count <= 4 * MAX_WIDTH)
    )
    if not is_sound or len(sketch) % max(4, 4 * count):
        raise MalformedSpanError(
            f"attributes penstock.inputs.sampled and penstock.inputs.sketch have {len(sampled)} and {len(sketch)} "
            f"bytes, expected 4 for each of at most {requests} requests, and 4 to {4 * MAX_WIDTH} for each of those"
        )
    return sampled, sketch


def _pulse(span: KeptSpan, values: _Values, *, instance: str) -> Pulse | None:
    """None of a replica that doesn't say which model it runs, or who it is."""
    running_ns: int = values.read("penstock.replica.running_ns", 0)
    running_requests: int = values.read("penstock.replica.running_requests", 0)
    if running_ns < 0 or running_requests < 0:
        raise MalformedSpanError(
            f"a replica has run {running_requests} requests for {running_ns} ns, expected no negative number"
        )
    if not span.model or not span.version or not instance:
        return None
    is_stopping = values.read("penstock.replica.state", "") == "stopping"
    return Pulse(
        span.model, span.version, instance, span.trace_id, span.end_ns, is_stopping, running_ns, running_requests
    )


def _numbers(values: _Values, name: str, *, batches: int | None = None) -> tuple[int, ...]:
    """A u32 for each batch of a span that stands for several; as many as there are if not said."""
    array: bytes = values.read(f"penstock.batches.{name}", b"")
    if len(array) % 4 or (batches is not None and len(array) != 4 * batches):
        expected = "4 for each batch" if batches is None else f"4 for each of {batches} batches"
        raise MalformedSpanError(f"attribute penstock.batches.{name} has {len(array)} bytes, expected {expected}")
    return struct.unpack(f"<{len(array) // 4}I", array)


def _packed(values: _Values, name: str, size: int, *, requests: int) -> bytes:
    """An array with ``size`` bytes for each request."""
    array: bytes = values.read(name, b"")
    if len(array) != size * requests:
        raise MalformedSpanError(
            f"attribute {name} has {len(array)} bytes, expected {size} for each of {requests} requests"
        )
    return array


def _rejection(span: KeptSpan, values: _Values) -> Rejection | None:
    """None for a request that names no model: there is no series to count it in."""
    weight: int = values.read("penstock.sample.weight", 1)
    if not 1 <= weight <= MAX_WEIGHT:
        raise MalformedSpanError(f"attribute penstock.sample.weight is {weight}, expected 1 to {MAX_WEIGHT}")
    if not span.model:
        return None
    outcome = outcome_of(
        rpc_status=values.read("rpc.response.status_code", ""),
        error_type=values.read("error.type", ""),
        http_status=values.read("http.response.status_code", 0),
    )
    named = next(
        (
            name
            for name in (values.read("rpc.response.status_code", ""), values.read("error.type", ""))
            if name in CODES
        ),
        "UNKNOWN",
    )
    arm = values.name("penstock.deployment.arm") or STABLE
    return Rejection(span.model, span.version, span.trace_id, span.end_ns, outcome, weight, CODES.index(named), arm)
