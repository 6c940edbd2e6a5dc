"""Traces whose spans are made after the fact, from plain integers.

The hot path carries a :class:`TraceContext` (W3C Trace Context) and nanosecond timestamps only. Whoever wants a span
builds it at the end with :class:`SpanExporter`; ids are known beforehand, so a span may be decided on late.
"""

from __future__ import annotations

import enum
import functools
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.sdk.resources import Resource

from services.common.trace_context import TraceContext

__all__ = ["AttributeValue", "SpanExporter", "SpanKind", "TraceContext"]

_log = logging.getLogger(__name__)

Scalar = str | bool | int | float | bytes
AttributeValue = Scalar | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]

_PERIOD_S = 0.5
_TIMEOUT_S = 5.0
_LAST_SPANS_S = 3.0
_MAX_BATCH = 512
"""Spans in a message: making them holds the interpreter for some milliseconds."""
_CHANNEL_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1_000)]


class SpanKind(enum.IntEnum):
    """OpenTelemetry's kinds, with the numbers that OTLP gives them."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class _Finished(NamedTuple):
    """What :meth:`SpanExporter.export` was told."""

    name: str
    context: TraceContext
    kind: SpanKind
    start_ns: int
    end_ns: int
    parent: TraceContext | None
    attributes: Mapping[str, AttributeValue] | None
    links: Sequence[TraceContext]
    error: str | None


class SpanExporter:
    """Notes finished spans; a thread of its own makes them and sends them in batches, by OTLP/gRPC.

    Never blocks and never fails the caller: when the receiver is away or slow, spans are dropped. What the process is
    comes from OpenTelemetry's SDK, which adds ``OTEL_RESOURCE_ATTRIBUTES``. Its span processor and exporter take 40 µs
    for a span, half of them in the caller's thread; this takes 1 there and 15 in its own.
    """

    def __init__(self, *, endpoint: str, service: str, instance: str, version: str, max_queued: int = 16_384) -> None:
        """``endpoint`` is "host:port"; empty makes an exporter that drops everything."""
        names = {"service.name": service, "service.version": version, "service.instance.id": instance}
        described: dict[str, Any] = dict(Resource.create(names).attributes)
        self._resource = resource_pb2.Resource(attributes=_attributes(described))
        self._scope = InstrumentationScope(name="penstock", version=version)
        self._max_queued = max_queued
        self._queue: deque[_Finished] = deque()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        if endpoint:
            self._channel = grpc.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
            self._thread = threading.Thread(target=self._run, name="span exporter", daemon=True)
            self._thread.start()

    @property
    def is_enabled(self) -> bool:
        return self._thread is not None

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
        """Send one finished span. ``error`` is the status' description of a failed one.

        ``attributes`` and ``links`` are read later, by another thread: they belong to the span from now on.
        """
        if self._thread is not None and len(self._queue) < self._max_queued:
            self._queue.append(_Finished(name, context, kind, start_ns, end_ns, parent, attributes, links, error))

    def close(self) -> None:
        """Send what is queued, for a few seconds at most, and stop the thread."""
        if self._thread is not None:
            self._is_closing.set()
            self._thread.join(_LAST_SPANS_S)
            self._channel.close()  # which ends a call that still waits
            self._thread.join()

    def _run(self) -> None:
        export = TraceServiceStub(self._channel).Export
        is_away = False
        while not self._is_closing.wait(_PERIOD_S) or self._queue:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_BATCH))]
                try:
                    export(self._message(batch), timeout=_TIMEOUT_S, wait_for_ready=True)
                    is_away = False
                except grpc.RpcError as error:
                    if self._is_closing.is_set():
                        return
                    if not is_away:
                        _log.warning("spans can't be sent, and are dropped: %s", error)
                    is_away = True

    def _message(self, batch: Sequence[_Finished]) -> ExportTraceServiceRequest:
        spans = ScopeSpans(scope=self._scope, spans=map(_span, batch))
        return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[spans])])


def _span(noted: _Finished) -> Span:
    context, parent, error = noted.context, noted.parent, noted.error
    return Span(
        trace_id=context.trace_id,
        span_id=context.span_id,
        parent_span_id=parent.span_id if parent is not None else b"",
        name=noted.name,
        kind=noted.kind,  # type: ignore[arg-type]
        start_time_unix_nano=noted.start_ns,
        end_time_unix_nano=noted.end_ns,
        attributes=_attributes(noted.attributes or {}),
        links=[Span.Link(trace_id=link.trace_id, span_id=link.span_id) for link in noted.links],
        status=None if error is None else Status(code=Status.STATUS_CODE_ERROR, message=error),
    )


def _attributes(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [
        _text(key, value) if type(value) is str else KeyValue(key=key, value=_value(value))
        for key, value in attributes.items()
    ]


@functools.lru_cache(maxsize=4_096)
def _text(key: str, value: str) -> KeyValue:
    """An attribute; most texts are the same in span after span."""
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _value(value: AttributeValue) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=value)
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=map(_value, value)))
