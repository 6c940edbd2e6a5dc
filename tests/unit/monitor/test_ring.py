from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.monitor.domain.ring import MAX_PINNED, MAX_SPANS_PER_TRACE, SPAN_OVERHEAD_BYTES, KeptSpan, TraceRing


def span(trace: int, number: int = 1, *, model: str = "", has_error: bool = False, size: int = 100) -> KeptSpan:
    return KeptSpan(
        trace_id=trace.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        model=model,
        version="1" if model else "",
        service="penstock-gateway",
        start_ns=number,
        end_ns=number + 1,
        has_error=has_error,
        raw=bytes(size),
    )


def ids(ring: TraceRing, *, model: str = "", has_error: bool = False, before: int | None = None) -> list[int]:
    return [int.from_bytes(trace.trace_id) for trace in ring.newest(model=model, has_error=has_error, before=before)]


def test_late_spans_join_their_trace_and_duplicates_do_not_count() -> None:
    ring = TraceRing(max_spans=100, max_bytes=1 << 20)

    added = [ring.add(span(1, 1)), ring.add(span(2, 1)), ring.add(span(1, 2, model="m")), ring.add(span(1, 1))]

    assert added == [True, True, True, False]
    trace = ring.get((1).to_bytes(16, "big"))
    assert trace is not None
    assert (len(trace.spans), trace.model, trace.version) == (2, "m", "1")
    assert ring.span_count == 3


def test_traces_are_found_by_model_and_by_error_newest_first() -> None:
    ring = TraceRing(max_spans=100, max_bytes=1 << 20)
    for number in range(1, 9):
        ring.add(span(number, model="even" if number % 2 == 0 else "odd", has_error=number > 5))

    assert ids(ring) == [8, 7, 6, 5, 4, 3, 2, 1]
    assert ids(ring, model="even") == [8, 6, 4, 2]
    assert ids(ring, model="odd", has_error=True) == [7]
    assert ids(ring, before=4) == [3, 2, 1]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(0, 3_000)), max_size=200),
    st.integers(1, 30),
    st.integers(1_000, 20_000),
)
def test_the_ring_never_outgrows_its_bounds(spans: list[tuple[int, int, int]], max_spans: int, max_bytes: int) -> None:
    ring = TraceRing(max_spans=max_spans, max_bytes=max_bytes)
    for trace, number, size in spans:
        ring.add(span(trace, number, size=size))

    kept = [one for trace in ring.newest(model="", has_error=False) for one in trace.spans.values()]
    assert len(kept) == ring.span_count <= max_spans
    assert sum(len(one.raw) + SPAN_OVERHEAD_BYTES for one in kept) == ring.size_bytes <= max_bytes


def test_one_trace_can_not_take_the_whole_ring() -> None:
    ring = TraceRing(max_spans=10_000, max_bytes=1 << 30)
    for number in range(1, 3_000):
        ring.add(span(1, number))

    assert ring.span_count == MAX_SPANS_PER_TRACE


def test_a_pinned_trace_outlives_the_ring_and_takes_late_spans() -> None:
    ring = TraceRing(max_spans=10, max_bytes=1 << 20)
    ring.add(span(1))
    assert ring.pin((1).to_bytes(16, "big"))
    for number in range(2, 30):
        ring.add(span(number))

    ring.add(span(1, 2))

    trace = ring.get((1).to_bytes(16, "big"))
    assert trace is not None
    assert len(trace.spans) == 2
    assert ids(ring)[0] == 1
    assert not ring.pin((99).to_bytes(16, "big"))


def test_pins_are_bounded() -> None:
    ring = TraceRing(max_spans=1, max_bytes=1 << 20)
    for number in range(1, MAX_PINNED + 11):
        ring.add(span(number))
        ring.pin(number.to_bytes(16, "big"))

    assert ring.get((1).to_bytes(16, "big")) is None
    assert ring.get((11).to_bytes(16, "big")) is not None


def test_pins_take_a_quarter_of_the_bytes_at_most() -> None:
    ring = TraceRing(max_spans=10_000, max_bytes=40 * SPAN_OVERHEAD_BYTES)
    for number in range(1, 31):
        ring.add(span(number))
        ring.pin(number.to_bytes(16, "big"))
    for number in range(31, 100):
        ring.add(span(number))

    kept = [number for number in range(1, 31) if ring.get(number.to_bytes(16, "big"))]
    assert kept == list(range(31 - len(kept), 31))
    assert 0 < sum(len(span(number).raw) + SPAN_OVERHEAD_BYTES for number in kept) <= 10 * SPAN_OVERHEAD_BYTES
