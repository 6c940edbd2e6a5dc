"""Turns what the monitor knows into the messages of ``penstock.monitor.v1``."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.trace.v1 import trace_pb2

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.common.times import duration, timestamp
from services.monitor.domain import sketch
from services.monitor.domain.figures import Window
from services.monitor.domain.foreign import ServiceWindow
from services.monitor.domain.incidents import Incident
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Cause, Phase, Severity, Signal
from services.monitor.domain.probe_book import ProbeState
from services.monitor.domain.probe_reports import ProbeOutcome
from services.monitor.domain.ring import KeptSpan, KeptTrace

_PACKED = (
    "penstock.requests.",
    "penstock.batches.",
    "penstock.inputs.sampled",
    "penstock.inputs.sketch",
    "penstock.probe.values",
    "penstock.probe.slack",
)
_MAX_TEXT = 4_096

_PHASES = {phase: f"PHASE_{phase.name}" for phase in Phase}
_SIGNALS = {signal: f"SIGNAL_{signal.name}" for signal in Signal}
_CAUSES = {cause: f"CAUSE_{cause.name}" for cause in Cause}
_OUTCOMES = {outcome: f"OUTCOME_{outcome.name}" for outcome in ProbeOutcome}
_SEVERITIES = {severity: f"SEVERITY_{severity.name}" for severity in Severity}


def figures(window: Window) -> pb.ModelFigures:
    sums = window.sums
    requests = int(sums.outcomes.sum())
    return pb.ModelFigures(
        model=window.model,
        version=window.version,
        window=duration(int(window.seconds * 1e9)),
        request_count=requests,
        error_count=int(sums.outcomes[Outcome.SERVER_ERROR]),
        request_rate=requests / window.seconds,
        mean_batch_rows=sums.rows / sums.executions if sums.executions else 0.0,
        execution_count=sums.executions,
        phases=[_phase_figures(window, phase) for phase in Phase],
    )


def _phase_figures(window: Window, phase: Phase) -> pb.PhaseFigures:
    counts = window.sums.counts[phase]
    total = int(counts.sum())
    p50, p90, p99 = (sketch.quantile(counts, level) / 1e9 for level in (0.5, 0.9, 0.99))
    return pb.PhaseFigures(
        phase=_PHASES[phase],
        p50_seconds=p50,
        p90_seconds=p90,
        p99_seconds=p99,
        mean_seconds=float(window.sums.sums_ns[phase]) / total / 1e9 if total else 0.0,
    )


def service_figures(window: ServiceWindow) -> pb.ServiceFigures:
    tally = window.tally
    counts, calls = tally.counts, tally.calls
    p50, p90, p99 = (sketch.quantile(counts, level) / 1e9 for level in (0.5, 0.9, 0.99))
    return pb.ServiceFigures(
        service=window.key.service,
        operation=window.key.operation,
        replica=window.key.replica,
        window=duration(int(window.seconds * 1e9)),
        request_count=calls,
        error_count=tally.outcomes[Outcome.SERVER_ERROR],
        request_rate=calls / window.seconds,
        p50_seconds=p50,
        p90_seconds=p90,
        p99_seconds=p99,
        mean_seconds=tally.sum_ns / calls / 1e9 if calls else 0.0,
    )


def incident(value: Incident) -> pb.Incident:
    message = pb.Incident(
        name=f"incidents/{value.incident_id}",
        model=value.model,
        version=value.version,
        phase="PHASE_UNSPECIFIED" if value.phase is None else _PHASES[value.phase],
        signal=_SIGNALS[value.signal],
        state=pb.Incident.STATE_OPEN if value.is_open else pb.Incident.STATE_CLOSED,
        summary=value.summary,
        before=value.before,
        after=value.after,
        change_time=timestamp(value.change_ns),
        open_time=timestamp(value.open_ns),
        log_evalue=value.log_evalue,
        average_run_length=value.average_run_length,
        traces=[f"traces/{trace}" for trace in value.traces],
        innocent_traces=[f"traces/{trace}" for trace in value.innocent_traces],
        replica=value.replica,
        arm=value.arm,
        cause=_CAUSES[value.cause],
        severity=_SEVERITIES[value.severity],
    )
    if value.after_low is not None and value.after_high is not None:
        message.after_interval.low, message.after_interval.high = value.after_low, value.after_high
    if value.close_ns is not None:
        message.close_time.CopyFrom(timestamp(value.close_ns))
    return message


def probe(state: ProbeState) -> pb.ReplicaProbe:
    report = state.report
    return pb.ReplicaProbe(
        model=report.model,
        version=report.version,
        replica=report.instance,
        outcome=_OUTCOMES[state.outcome],
        detail=state.fault or report.detail,
        output=report.output,
        worst_error=report.worst_error,
        device=report.device,
        weights_sha256=report.weights,
        probe_time=timestamp(report.end_ns),
        trace=f"traces/{report.trace_id.hex()}",
    )


def trace(value: KeptTrace, *, with_spans: bool) -> pb.Trace:
    spans = sorted(value.spans.values(), key=lambda span: span.start_ns)
    return pb.Trace(
        name=f"traces/{value.trace_id.hex()}",
        model=value.model,
        version=value.version,
        start_time=timestamp(spans[0].start_ns),
        duration=duration(max(span.end_ns for span in spans) - spans[0].start_ns),
        has_error=value.has_error,
        span_count=len(spans),
        spans=[_span(span) for span in spans] if with_spans else [],
    )


def _span(kept: KeptSpan) -> pb.Span:
    span = trace_pb2.Span.FromString(kept.raw)
    linked = dict.fromkeys(link.trace_id.hex() for link in span.links if len(link.trace_id) == 16)
    return pb.Span(
        span_id=kept.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        operation=span.name[:_MAX_TEXT],
        service=kept.service,
        kind=_kind(span.kind),
        start_time=timestamp(kept.start_ns),
        duration=duration(kept.end_ns - kept.start_ns),
        has_error=kept.has_error,
        status_message=span.status.message[:_MAX_TEXT],
        attributes={
            attribute.key: _text(attribute.value)[:_MAX_TEXT]
            for attribute in span.attributes
            if not attribute.key.startswith(_PACKED)
        },
        linked_trace_ids=list(linked),
    )


def _kind(number: int) -> str:
    names = trace_pb2.Span.SpanKind.DESCRIPTOR.values_by_number
    kind = names[number].name.removeprefix("SPAN_KIND_") if number in names else "UNSPECIFIED"
    return "INTERNAL" if kind == "UNSPECIFIED" else kind


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "string_value":
        return str(value.string_value)
    if kind == "bytes_value":
        return str(value.bytes_value[:_MAX_TEXT].hex())
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind in ("int_value", "double_value"):
        return str(getattr(value, kind))
    return json.dumps(MessageToDict(value))
