"""Span trees: what each span did itself, as opposed to what it waited for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One operation of one request; ``parent_id`` is empty for a root."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    operation: str
    replica: str
    start_ns: int
    duration_ns: int
    is_error: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a span ran."""

    service: str
    operation: str
    replica: str


Shape = frozenset[tuple[str, str]]
"""Services and operations of a span's children, each once: how often a loop ran is no shape."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What one span tells of its place."""

    trace_id: str
    place: Place
    peer: Place | None
    """The other end, where the span does nothing but call one other service: its own time passes between the two."""
    own_ns: int
    """Time in the span that no child covers."""
    is_error_origin: bool
    """It failed and none of its children did."""
    shape: Shape


def visits(trace: Iterable[Span]) -> Iterator[Visit]:
    """The visits of one trace. A span whose parent is missing is a root; repeated span ids count once."""
    spans = {span.span_id: span for span in trace}
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans.values():
        if span.parent_id in spans and span.parent_id != span.span_id:
            children[span.parent_id].append(span)
    for span in spans.values():
        below = children.get(span.span_id, [])
        peers = {(child.service, child.operation, child.replica) for child in below}
        is_call = len(peers) == 1 and below[0].service != span.service
        yield Visit(
            trace_id=span.trace_id,
            place=Place(span.service, span.operation, span.replica),
            peer=Place(*next(iter(peers))) if is_call else None,
            own_ns=span.duration_ns - _covered_ns(span, below),
            is_error_origin=span.is_error and not any(child.is_error for child in below),
            shape=frozenset((child.service, child.operation) for child in below),
        )


def _covered_ns(span: Span, children: list[Span]) -> int:
    """Time of ``span`` during which a child ran; children side by side count once, what outlives it doesn't."""
    end_ns = span.start_ns + span.duration_ns
    covered, reached = 0, span.start_ns
    for child in sorted(children, key=lambda one: one.start_ns):
        start = max(child.start_ns, reached)
        stop = min(child.start_ns + child.duration_ns, end_ns)
        if stop > start:
            covered += stop - start
            reached = stop
    return covered
