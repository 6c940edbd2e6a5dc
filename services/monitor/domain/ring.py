"""The recent traces, in memory: bounded by spans and bytes, the oldest trace leaves first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

SPAN_OVERHEAD_BYTES = 512
"""About what a kept span costs beside its bytes."""
MAX_SPANS_PER_TRACE = 1_000
MAX_PINNED = 256


@dataclass(frozen=True, slots=True)
class Origin:
    """What made spans: OTLP's serialised ``Resource`` and ``InstrumentationScope``, with the URLs of their schemas."""

    resource: bytes = b""
    resource_schema: str = ""
    scope: bytes = b""
    scope_schema: str = ""

    @property
    def size_bytes(self) -> int:
        return len(self.resource) + len(self.resource_schema) + len(self.scope) + len(self.scope_schema)


UNKNOWN_ORIGIN = Origin()


@dataclass(slots=True)  # not frozen: that takes 1 µs for each
class KeptSpan:
    """A span in the ring: what is searched for, and the rest as it came (a serialised OTLP span).

    ``linked`` are the traces that its links lead to, of spans made by Penstock; ``origin_share`` is its share, in
    bytes, of the origin that it came with. ``is_ours``: Penstock made it. ``awaits_parent``: the parent is a span of
    Penstock's too, and always sent. ``is_forwarded``: it was sent on.
    """

    trace_id: bytes
    span_id: bytes
    model: str
    version: str
    service: str
    start_ns: int
    end_ns: int
    has_error: bool
    raw: bytes
    parent_id: bytes = b""
    linked: tuple[bytes, ...] = ()
    origin: Origin = UNKNOWN_ORIGIN
    origin_share: int = 0
    is_ours: bool = True
    is_canary: bool = False
    is_probe: bool = False
    awaits_parent: bool = False
    is_forwarded: bool = False

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return len(self.raw) + 64 * len(self.linked) + self.origin_share + SPAN_OVERHEAD_BYTES


@dataclass(slots=True)
class KeptTrace:
    """The spans of one trace that came so far. ``number`` rises with the order in which traces were first seen."""

    trace_id: bytes
    number: int
    spans: dict[bytes, KeptSpan] = field(default_factory=dict)
    size_bytes: int = 0

    @property
    def model(self) -> str:
        return next((span.model for span in self.spans.values() if span.model), "")

    @property
    def version(self) -> str:
        return next((span.version for span in self.spans.values() if span.version), "")

    @property
    def has_error(self) -> bool:
        return any(span.has_error for span in self.spans.values())


class TraceRing:
    """Recent traces by id. Spans may come in any order, late or twice."""

    def __init__(self, *, max_spans: int, max_bytes: int) -> None:
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._traces: OrderedDict[bytes, KeptTrace] = OrderedDict()
        self._pinned: OrderedDict[bytes, KeptTrace] = OrderedDict()
        self._number = 0
        self.span_count = 0
        self.size_bytes = 0

    def add(self, span: KeptSpan) -> bool:
        """Keep a span; False if it is here already."""
        trace = self._traces.get(span.trace_id)
        if trace is None:
            self._number += 1
            # A late span of a pinned trace joins it.
            trace = self._pinned.get(span.trace_id)
            if trace is None:
                trace = KeptTrace(span.trace_id, self._number)
            else:
                trace.number = self._number
                self._count(trace, 1)
            self._traces[span.trace_id] = trace
        if span.span_id in trace.spans:
            return False
        if len(trace.spans) < MAX_SPANS_PER_TRACE:
            trace.spans[span.span_id] = span
            size = span.size_bytes
            trace.size_bytes += size
            self.size_bytes += size
            self.span_count += 1
        while self.span_count > self._max_spans or self.size_bytes > self._max_bytes:
            self._count(self._traces.popitem(last=False)[1], -1)
        return True

    def _count(self, trace: KeptTrace, sign: int) -> None:
        self.span_count += sign * len(trace.spans)
        self.size_bytes += sign * trace.size_bytes

    def has(self, trace_id: bytes, span_id: bytes) -> bool:
        """Whether a span is here."""
        trace = self._traces.get(trace_id) or self._pinned.get(trace_id)
        return trace is not None and span_id in trace.spans

    def get(self, trace_id: bytes) -> KeptTrace | None:
        return self._traces.get(trace_id) or self._pinned.get(trace_id)

    def pin(self, trace_id: bytes) -> bool:
        """Keep a trace beyond its time, for an incident that names it; False if it is gone, or too large.

        ``MAX_PINNED`` are kept at most, in a quarter of the ring's bytes.
        """
        trace = self.get(trace_id)
        if trace is None:
            return False
        self._pinned[trace_id] = trace
        size_bytes = sum(trace.size_bytes for trace in self._pinned.values())
        while len(self._pinned) > MAX_PINNED or size_bytes > self._max_bytes // 4:
            size_bytes -= self._pinned.popitem(last=False)[1].size_bytes
        return trace_id in self._pinned

    def newest(self, *, model: str, has_error: bool, before: int | None = None) -> Iterator[KeptTrace]:
        """Traces of one model ("" for all), only failed ones if asked, first seen before number ``before``."""
        for trace in reversed(self._traces.values()):
            if (
                (before is None or trace.number < before)
                and (not model or model == trace.model)
                and (not has_error or trace.has_error)
            ):
                yield trace
