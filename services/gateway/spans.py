"""Request spans and access log lines, made after the fact: for sampled requests, and for every failed one.

The line of a request that was answered is at level DEBUG.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from services.common.errors import PenstockError
from services.common.status import code_of
from services.common.tracing import SpanExporter, SpanKind, TraceContext
from services.gateway.domain.allowance import Allowance
from services.gateway.domain.tickets import Arrival, Surface, Ticket

_log = logging.getLogger("penstock.access")

SettledBy = Literal["gateway", "worker"]
Attributes = dict[str, str | int]

WEIGHT = "penstock.sample.weight"
_MAX_MERGED_KINDS = 1_000
_MAX_NAME = 256
"""Characters of a name that a caller chose to put in a span."""
_MAX_TRACESTATE = 512
"""Characters of a tracestate that W3C Trace Context asks to pass on; a longer one may be dropped."""


@dataclass(frozen=True, slots=True)
class _ServerSpan:
    arrival: Arrival
    attributes: Attributes
    end_ns: int
    error: PenstockError | None


class RequestSpans:
    """Decides which requests are traced, and exports their SERVER and PRODUCER spans and their log lines.

    Of the requests that come without a trace ``sample_ratio`` are traced, ``max_traces_per_second`` at most. Failed
    requests above ``max_errors_per_second`` are merged: one span for each API, model, arm and reason then stands
    for ``penstock.sample.weight`` requests.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        sample_ratio: float,
        max_traces_per_second: int = 5,
        max_errors_per_second: int = 200,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._exporter = exporter
        self._sample_ratio = sample_ratio
        self._traces = Allowance(max_traces_per_second, clock_ns())
        self._max_errors = max_errors_per_second
        self._clock_ns = clock_ns
        self._second = 0
        self._errors = 0
        self._merged: dict[tuple[str, str, str, str], _ServerSpan] = {}

    def arrive(self, surface: Surface, *, traceparent: str = "", tracestate: str = "") -> Arrival:
        """Note a request's arrival: take the caller's trace over, or begin one."""
        parent = TraceContext.parse(traceparent) if traceparent else None
        if parent is None:
            now_ns = self._clock_ns()
            is_sampled = random.random() < self._sample_ratio and self._traces.take(now_ns)
            return Arrival(surface, now_ns, TraceContext.new_root(is_sampled=is_sampled))
        is_fit = len(tracestate) <= _MAX_TRACESTATE and tracestate.isascii()
        return Arrival(surface, self._clock_ns(), parent.child(), parent, tracestate if is_fit else "")

    def finish(self, ticket: Ticket, *, end_ns: int, settled_by: SettledBy, error: PenstockError | None = None) -> None:
        """Report a settled request that is sampled or failed."""
        version, arrival = ticket.lane.version, ticket.arrival
        attributes = _attributes(version.model, version.version, ticket.request_id, settled_by, ticket.arm)
        self._report(arrival, attributes, end_ns=end_ns, error=error)
        self.leave_lane(ticket, end_ns=end_ns)

    def leave_lane(self, ticket: Ticket, *, end_ns: int) -> None:
        """Report that a request, if it is sampled and went into a lane, is no longer there."""
        version, arrival = ticket.lane.version, ticket.arrival
        if arrival.context.is_sampled and (ticket.is_sent or ticket.sent_ns):
            self._exporter.export(
                f"send {version.model}",
                ticket.producer,
                kind=SpanKind.PRODUCER,
                start_ns=ticket.enqueue_ns,
                end_ns=ticket.sent_ns or end_ns,
                parent=arrival.context,
                attributes={
                    "messaging.system": "redis",
                    "messaging.destination.name": ticket.stream,
                    "messaging.operation.type": "send",
                    "penstock.queue.handed_over": not ticket.is_sent,
                    "penstock.model.name": version.model,
                    "penstock.model.version": version.version,
                },
            )

    def refuse(
        self, arrival: Arrival, error: PenstockError, *, model: str, version: str, request_id: str, arm: str = ""
    ) -> None:
        """Report a request that was not admitted; ``arm`` is that of the version that would have served it."""
        attributes = _attributes(model, version, request_id, "gateway", arm)
        self._report(arrival, attributes, end_ns=self._clock_ns(), error=error)

    def flush(self) -> None:
        """Export what was merged."""
        for span in self._merged.values():
            self._export(span)
            _write_line(span)
        self._merged.clear()

    def _report(self, arrival: Arrival, attributes: Attributes, *, end_ns: int, error: PenstockError | None) -> None:
        span = _ServerSpan(arrival, attributes, end_ns, error)
        if error is not None:
            attributes["error.type"] = error.reason
            attributes[WEIGHT] = 1
            if not arrival.context.is_sampled and not self._has_error_budget(end_ns):
                self._merge(span, error)
                return
        self._export(span)
        _write_line(span)

    def _has_error_budget(self, now_ns: int) -> bool:
        second = now_ns // 1_000_000_000
        if second != self._second:
            self._second, self._errors = second, 0
        self._errors += 1
        return self._errors <= self._max_errors

    def _merge(self, span: _ServerSpan, error: PenstockError) -> None:
        arm = str(span.attributes.get("penstock.deployment.arm", ""))
        key = (span.arrival.surface.operation, str(span.attributes["penstock.model.name"]), arm, error.reason)
        if len(self._merged) >= _MAX_MERGED_KINDS and key not in self._merged:
            key = ("", "", "", error.reason)  # names of models that don't exist are the callers' to choose
        merged = self._merged.setdefault(key, span)
        if merged is not span:
            merged.attributes[WEIGHT] = int(merged.attributes[WEIGHT]) + 1

    def _export(self, span: _ServerSpan) -> None:
        arrival, error = span.arrival, span.error
        self._exporter.export(
            arrival.surface.operation,
            arrival.context,
            kind=SpanKind.SERVER,
            start_ns=arrival.start_ns,
            end_ns=span.end_ns,
            parent=arrival.parent,
            attributes=span.attributes | arrival.surface.attributes(error),
            error=None if error is None else error.message,
        )


def _attributes(model: str, version: str, request_id: str, settled_by: SettledBy, arm: str) -> Attributes:
    attributes: Attributes = {
        "penstock.model.name": model[:_MAX_NAME],
        "penstock.model.version": version[:_MAX_NAME],
        "penstock.settled_by": settled_by,
    }
    if request_id:
        attributes["penstock.request.id"] = request_id[:_MAX_NAME]
    if arm:
        attributes["penstock.deployment.arm"] = arm
    return attributes


def _write_line(span: _ServerSpan) -> None:
    arrival, error = span.arrival, span.error
    level = logging.DEBUG if error is None else logging.INFO  # a line takes as long as half of the request
    if not _log.isEnabledFor(level):
        return
    _log.log(
        level,
        "%s %s",
        arrival.surface.operation,
        "OK" if error is None else f"{code_of(error).name}: {error.message}",
        extra={
            "trace.id": arrival.context.trace_id.hex(),
            "span.id": arrival.context.span_id.hex(),
            "event.duration": span.end_ns - arrival.start_ns,
            "event.outcome": "success" if error is None else "failure",
            **span.attributes,
        },
    )
