"""Pictures of traces: every span has its bar, and what it says is text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from penstock.monitor.v1 import monitor_service_pb2 as pb
from tools.trace_picture import drawn, rows_of

SVG = "{http://www.w3.org/2000/svg}"


def span(name: str, ident: str, *, parent: str = "", start_ns: int = 0, ns: int = 1_000, **fields: object) -> pb.Span:
    one = pb.Span(operation=name, span_id=ident, parent_span_id=parent, service="penstock-gateway", kind="SERVER")
    one.start_time.FromNanoseconds(1_700_000_000 * 10**9 + start_ns)
    one.duration.FromNanoseconds(ns)
    one.MergeFrom(pb.Span(**fields))  # type: ignore[arg-type]
    return one


REQUEST = pb.Trace(
    name="traces/" + "ab" * 16,
    spans=[
        span("process <digits>", "3", parent="2", start_ns=500_000, ns=2_000_000, linked_trace_ids=["cd" * 16]),
        span("POST /infer", "1", parent="caller", ns=4_000_000, has_error=True),
        span("send", "2", parent="1", start_ns=100_000, ns=50_000, attributes={"penstock.queue.handed_over": "false"}),
    ],
)
BATCH = pb.Trace(name="traces/" + "cd" * 16, spans=[span("batch", "4", start_ns=500_000, ns=1_900_000)])


def test_spans_stand_below_their_parents() -> None:
    assert [(row.span.operation, row.depth) for row in rows_of(REQUEST)] == [
        ("POST /infer", 0), ("send", 1), ("process <digits>", 2),
    ]  # fmt: skip


def test_every_span_has_a_bar_as_long_as_it_took_and_links_are_lines() -> None:
    picture = ET.fromstring(drawn([REQUEST, BATCH]))

    bars = [(float(one.get("width", 0)), one.get("fill")) for one in picture.iter(f"{SVG}rect") if one.get("rx")]
    texts = [one.text for one in picture.iter(f"{SVG}text")]
    assert [width for width, _ in bars] == [640.0, 8.0, 320.0, 304.0]
    assert [fill for _, fill in bars][:2] == ["#c0392b", "#4c78a8"]
    assert len(list(picture.iter(f"{SVG}path"))) == 1
    assert {"process <digits>", "50 µs · handed_over false", "trace abababababababab…"} <= set(texts)
    assert texts[-5:] == ["0 µs", "1.00 ms", "2.00 ms", "3.00 ms", "4.00 ms"]
