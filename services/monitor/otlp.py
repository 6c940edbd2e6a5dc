"""Reads OTLP trace requests: what comes in from outside is checked here, span by span, and trusted afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from penstock.otlp.v1.trace_pb2 import Resource, Span, TraceRequest
from services.monitor.batch_spans import batch_of, pulse_of, rejection_of
from services.monitor.domain.blocks import Batch, Pulse, Rejection
from services.monitor.domain.foreign import Call
from services.monitor.domain.probe_reports import ProbeReport
from services.monitor.domain.quality.predictions import Predictions
from services.monitor.domain.ring import KeptSpan, Origin
from services.monitor.foreign_spans import call_of, printable
from services.monitor.prediction_spans import predictions_of
from services.monitor.probe_spans import report_of
from services.monitor.span_values import MAX_NAME_LENGTH, NO_VALUES, MalformedSpanError, Values

MAX_SPAN_BYTES = 4 << 20
MAX_ORIGIN_BYTES = 64 << 10
"""Of a resource and a scope: a single span may keep both in memory."""
MAX_LINKED = 128

_SERVER = 2
"""OTLP's SPAN_KIND_SERVER."""
_ERROR = 2
"""OTLP's STATUS_CODE_ERROR."""
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


@dataclass(slots=True)
class Reading:
    """One span that came in; ``observation`` is what the figures count, if it is for them."""

    span: KeptSpan
    is_ours: bool
    observation: Batch | Rejection | Pulse | Call | ProbeReport | Predictions | None = None


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


def holder_count(request: TraceRequest, *, most: int) -> int:
    """Resources and scopes: a request of few bytes may have millions, each of which takes time though it is empty.

    Above ``most`` not all need be counted.
    """
    groups = request.resource_spans
    return len(groups) + (sum(len(group.scope_spans) for group in groups) if len(groups) <= most else 0)


def read(request: TraceRequest) -> Readings:
    """Read a request. A malformed span is counted and left out; its neighbours are not harmed."""
    readings = Readings()
    for group in request.resource_spans:
        scopes = [scope for scope in group.scope_spans if scope.spans]
        if not scopes:
            continue
        service, instance = _identity(group.resource)
        is_ours = service.startswith("penstock-")
        resource = group.resource.SerializeToString(deterministic=True)
        for scope in scopes:
            origin = Origin(resource, group.schema_url, scope.scope, scope.schema_url)
            if origin.size_bytes > MAX_ORIGIN_BYTES:
                readings.refuse(_too_large(origin), spans=len(scope.spans))
                continue
            share = origin.size_bytes // len(scope.spans)
            for raw in scope.spans:
                try:
                    reading = _read_span(raw, service=service, instance=instance, is_ours=is_ours)
                except MalformedSpanError as error:
                    readings.refuse(error)
                else:
                    reading.span.origin, reading.span.origin_share = origin, share
                    readings.spans.append(reading)
    return readings


def _too_large(origin: Origin) -> MalformedSpanError:
    return MalformedSpanError(
        f"a resource and its scope have {origin.size_bytes} bytes, expected at most {MAX_ORIGIN_BYTES}"
    )


def _identity(resource: Resource) -> tuple[str, str]:
    service, instance = (
        printable(resource.attributes[name].string_value, MAX_NAME_LENGTH) if name in resource.attributes else ""
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
    values = Values(span.attributes) if is_ours else NO_VALUES
    model, version = values.name("penstock.model.name"), values.name("penstock.model.version")
    has_error = span.HasField("status") and span.status.code == _ERROR
    kept = KeptSpan(trace_id, span_id, model, version, service, start_ns, end_ns, has_error, raw, span.parent_span_id)
    if not is_ours:
        kept.is_ours = False
        return Reading(kept, is_ours, call_of(span, service=service, instance=instance, has_error=has_error))
    _mark(kept, span, values)
    return Reading(kept, is_ours, _observation(kept, span, values, instance=instance))


def _observation(
    kept: KeptSpan, span: Span, values: Values, *, instance: str
) -> Batch | Rejection | Pulse | ProbeReport | Predictions | None:
    """What a span of ours says to the figures, or the detectors."""
    if "penstock.requests.status" in values.attributes:
        return batch_of(kept, values, instance=instance)
    if span.kind == _SERVER and values.read("penstock.settled_by", "") == "gateway":
        return rejection_of(kept, values)
    if "penstock.replica.state" in values.attributes:
        return pulse_of(kept, values, instance=instance)
    if "penstock.requests.id" in values.attributes:
        return predictions_of(kept, values)
    if "penstock.probe.outcome" in values.attributes:
        try:
            return report_of(kept, values.read, values.name, instance=instance)
        except ValueError as error:
            raise MalformedSpanError(f"probe span {kept.span_id.hex()}: {error}") from None
    return None


def _mark(kept: KeptSpan, span: Span, values: Values) -> None:
    """Note what a trace is chosen by, and what it should have."""
    kept.is_canary = values.read("penstock.deployment.arm", "") == "canary"
    kept.is_probe = values.read("penstock.probe", False)
    # A caller's span, the parent of a SERVER span, goes elsewhere; and of failed requests only those spans are sent
    # that failed, where the request was not sampled.
    kept.awaits_parent = span.kind != _SERVER and not kept.has_error and bool(span.parent_span_id)
    if span.links:
        kept.linked = tuple(link.trace_id for link in span.links[:MAX_LINKED] if len(link.trace_id) == 16)
