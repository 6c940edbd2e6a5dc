"""Draw a request's trace and its batch's, as a trace viewer shows them.

``python -m tools.trace_picture TRACE --out FILE.svg``

Spans come from the monitor (``GetTrace``): the trace that is named, and those that its spans link to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import grpc

from penstock.endpoints import Endpoints
from penstock.monitor.v1 import monitor_service_pb2 as pb
from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub

_ROW, _NAMES, _BARS, _MARGIN = 34, 330, 640, 16
_COLOURS = {"penstock-gateway": "#4c78a8", "penstock-inference": "#f58518"}
_OTHER = "#8d8d8d"
_SHOWN = (
    "penstock.model.version", "penstock.settled_by", "penstock.queue.wait_ns", "penstock.queue.handed_over",
    "messaging.batch.message_count", "penstock.batch.rows", "penstock.batch.close_reason", "penstock.compute.infer_ns",
    "rpc.response.status_code", "http.response.status_code", "error.type",
)  # fmt: skip
_MOST_ATTRIBUTES = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A span, and where it stands: below its parent, so much further to the right."""

    trace: str
    span: pb.Span
    depth: int

    @property
    def start_ns(self) -> int:
        return self.span.start_time.ToNanoseconds()

    @property
    def duration_ns(self) -> int:
        return self.span.duration.ToNanoseconds()


def rows_of(trace: pb.Trace) -> Iterator[Row]:
    """Spans in the order of a tree; those whose parent isn't there are roots."""
    known = {span.span_id for span in trace.spans}

    def below(parent: str, depth: int) -> Iterator[Row]:
        for span in trace.spans:
            if (span.parent_span_id if span.parent_span_id in known else "") == parent:
                yield Row(trace.name.removeprefix("traces/"), span, depth)
                yield from below(span.span_id, depth + 1)

    yield from below("", 0)


def drawn(traces: Sequence[pb.Trace]) -> str:
    """An SVG of traces on one time axis, the request's first; dashed lines are links."""
    groups = [list(rows_of(trace)) for trace in traces]
    rows = [row for group in groups for row in group]
    begin = min(row.start_ns for row in rows)
    length = max(1, max(row.start_ns + row.duration_ns for row in rows) - begin)
    height = _MARGIN * 2 + _ROW * (len(rows) + len(groups)) + 24
    size = f'width="{_NAMES + _BARS + 2 * _MARGIN}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    middles: dict[tuple[str, str], tuple[float, float]] = {}
    y = _MARGIN
    for group in groups:
        parts.append(f'<text x="{_MARGIN}" y="{y + 22}" font-weight="bold">trace {escape(group[0].trace[:16])}…</text>')
        y += _ROW
        for row in group:
            x = _NAMES + _BARS * (row.start_ns - begin) / length
            width = max(2.0, _BARS * row.duration_ns / length)
            middles[row.trace, row.span.span_id] = x, y + _ROW / 2
            parts += _row(row, x=x, y=y, width=width)
            y += _ROW
    parts += _links(rows, middles)
    parts += _axis(length, y)
    return "\n".join([*parts, "</svg>\n"])


def _row(row: Row, *, x: float, y: float, width: float) -> Iterable[str]:
    span = row.span
    colour = "#c0392b" if span.has_error else _COLOURS.get(span.service, _OTHER)
    indent = _MARGIN + 18 * row.depth + 10
    told = [f"{key.rpartition('.')[2]} {span.attributes[key]}" for key in _SHOWN if key in span.attributes]
    yield f'<line x1="{_MARGIN}" x2="{_NAMES + _BARS}" y1="{y + _ROW}" y2="{y + _ROW}" stroke="#eeeeee"/>'
    yield f'<text x="{indent}" y="{y + 15}">{escape(span.operation)}</text>'
    kind = f"{span.service.removeprefix('penstock-')} · {span.kind}"
    yield f'<text x="{indent}" y="{y + 28}" fill="#777777" font-size="10">{escape(kind)}</text>'
    yield f'<rect x="{x:.1f}" y="{y + 6}" width="{width:.1f}" height="10" rx="2" fill="{colour}"/>'
    text = " · ".join([_time(row.duration_ns), *told[:_MOST_ATTRIBUTES]])
    anchor, at = ("end", _NAMES + _BARS) if x > _NAMES + _BARS / 2 else ("start", x)
    yield f'<text x="{at:.1f}" y="{y + 28}" fill="#555555" font-size="10" text-anchor="{anchor}">{escape(text)}</text>'


def _links(rows: Iterable[Row], middles: dict[tuple[str, str], tuple[float, float]]) -> Iterator[str]:
    """A line from each span to where it links to: a PRODUCER span of that trace, else its first one."""
    rows = list(rows)
    first: dict[str, tuple[float, float]] = {}
    for row in sorted(rows, key=lambda one: one.span.kind != "PRODUCER"):
        first.setdefault(row.trace, middles[row.trace, row.span.span_id])
    for row in rows:
        x, y = middles[row.trace, row.span.span_id]
        for linked in row.span.linked_trace_ids:
            if linked in first and linked != row.trace:
                to_x, to_y = first[linked]
                bend = min(x, to_x) - 30
                yield (
                    f'<path d="M{x:.1f},{y:.1f} C{bend:.1f},{y:.1f} {bend:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}" '
                    'fill="none" stroke="#888888" stroke-dasharray="4 3"/>'
                )


def _axis(length: int, y: float) -> Iterator[str]:
    for part in range(5):
        x = _NAMES + _BARS * part / 4
        anchor = ("start", "middle", "middle", "middle", "end")[part]
        style = f'fill="#777777" font-size="10" text-anchor="{anchor}"'
        yield f'<text x="{x:.1f}" y="{y + 18}" {style}>{_time(length * part // 4)}</text>'


def _time(ns: int) -> str:
    return f"{ns / 1e6:.2f} ms" if ns >= 1_000_000 else f"{ns / 1e3:.0f} µs"


def fetched(monitor: MonitorServiceStub, trace_id: str) -> list[pb.Trace]:
    """A trace, and those that its spans link to."""

    def get(one: str) -> pb.Trace:
        return monitor.GetTrace(pb.GetTraceRequest(name=f"traces/{one}")).trace

    trace = get(trace_id)
    linked = dict.fromkeys(other for span in trace.spans for other in span.linked_trace_ids if other != trace_id)
    return [trace, *map(get, linked)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", help="trace id, 32 hexadecimal digits")
    parser.add_argument("--out", type=Path, required=True, help="the SVG to write")
    parser.add_argument("--monitor", default=Endpoints.from_environ().monitor, help="host:port of the monitor's API")
    arguments = parser.parse_args()
    with grpc.insecure_channel(arguments.monitor) as channel:
        try:
            traces = fetched(MonitorServiceStub(channel), arguments.trace)
        except grpc.RpcError as error:
            sys.exit(f"{arguments.monitor}: {error.details()}")  # type: ignore[attr-defined]
    arguments.out.write_text(drawn(traces))


if __name__ == "__main__":
    main()
