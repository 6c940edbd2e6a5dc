"""Traces whose spans are made after the fact, from plain integers.

The hot path carries a :class:`TraceContext` (W3C Trace Context) and nanosecond timestamps only. Whoever wants a span
builds it at the end with :class:`SpanExporter`; ids are known beforehand, so a span may be decided on late.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

__all__ = ["SpanExporter", "SpanKind", "TraceContext"]

# Version 00 ends with the flags; later versions may go on.
_TRACEPARENT = re.compile(r"(?!ff|00-.{52}-)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Identity of a span: 16-byte trace id, 8-byte span id, and whether it is exported."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool

    @classmethod
    def new_root(cls, *, is_sampled: bool) -> TraceContext:
        """A span that begins a trace of its own."""
        random = os.urandom(24)
        return cls(random[:16], random[16:], is_sampled)

    def child(self) -> TraceContext:
        """A new span in the same trace."""
        return TraceContext(self.trace_id, os.urandom(8), self.is_sampled)

    @classmethod
    def parse(cls, traceparent: str) -> TraceContext | None:
        """Read a ``traceparent`` header; None when it is malformed, as W3C Trace Context asks."""
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None:
            return None
        trace_id, span_id = bytes.fromhex(match[1]), bytes.fromhex(match[2])
        if not any(trace_id) or not any(span_id):
            return None
        return cls(trace_id, span_id, bool(int(match[3], 16) & 1))

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{'01' if self.is_sampled else '00'}"


class SpanExporter:
    """Makes finished spans and sends them in batches, from a thread of its own, by OTLP/gRPC.

    Never blocks and never fails the caller: when the receiver is away or slow, spans are dropped.
    """

    def __init__(self, *, endpoint: str, service: str, instance: str, version: str, max_queued: int = 16_384) -> None:
        """``endpoint`` is "host:port"; empty makes an exporter that drops everything."""
        self._resource = Resource(
            {"service.name": service, "service.version": version, "service.instance.id": instance}
        )
        self._scope = InstrumentationScope("penstock", version)
        self._processor = (
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=f"http://{endpoint}", insecure=True, timeout=5),
                max_queue_size=max_queued,
                schedule_delay_millis=500,
                max_export_batch_size=2_048,
            )
            if endpoint
            else None
        )

    @property
    def is_enabled(self) -> bool:
        return self._processor is not None

    def export(
        self,
        name: str,
        context: TraceContext,
        *,
        kind: SpanKind,
        start_ns: int,
        end_ns: int,
        parent: TraceContext | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        links: Sequence[TraceContext] = (),
        error: str | None = None,
    ) -> None:
        """Send one finished span. ``error`` is the status' description of a failed one."""
        if self._processor is None:
            return
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_span_context(context, is_exported=True),
                parent=None if parent is None else _span_context(parent, is_exported=parent.is_sampled),
                resource=self._resource,
                attributes=attributes,
                links=[trace.Link(_span_context(link, is_exported=link.is_sampled)) for link in links],
                kind=kind,
                instrumentation_scope=self._scope,
                status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
                start_time=start_ns,
                end_time=end_ns,
            )
        )

    def close(self) -> None:
        """Send what is queued, for a few seconds at most, and stop the thread."""
        if self._processor is not None:
            self._processor.shutdown()


def _span_context(context: TraceContext, *, is_exported: bool) -> trace.SpanContext:
    return trace.SpanContext(
        trace_id=int.from_bytes(context.trace_id, "big"),
        span_id=int.from_bytes(context.span_id, "big"),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED if is_exported else trace.TraceFlags.DEFAULT),
    )
