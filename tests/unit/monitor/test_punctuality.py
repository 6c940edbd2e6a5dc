"""Spans that are late, of another time, or wait for a parent, are told apart and counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.monitor.domain.blocks import NS
from services.monitor.domain.punctuality import MAX_WAITING, PARENT_WAIT_NS, Punctuality
from services.monitor.domain.ring import KeptSpan

NOW = 1_700_000_000 * NS


def span(*, end_ns: int = NOW, number: int = 1, parent: int = 0, trace: int = 1) -> KeptSpan:
    return KeptSpan(
        trace_id=trace.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        model="",
        version="",
        service="penstock-gateway",
        start_ns=end_ns - 5,
        end_ns=end_ns,
        has_error=False,
        raw=b"",
        parent_id=parent.to_bytes(8, "big") if parent else b"",
        awaits_parent=bool(parent),
    )


def seen(*ages_s: float) -> Punctuality:
    punctuality = Punctuality()
    punctuality.begin(NOW)
    for age_s in ages_s:
        punctuality.see(span(end_ns=NOW - int(age_s * NS)), now_ns=NOW)
    return punctuality


def test_spans_are_told_apart_by_their_age() -> None:
    punctuality = seen(0, 3.9, -0.9, 4.1, 9.9, 10.1, 3_600, -1.1, -3_600)

    assert {kind: number for kind, number in punctuality.irregular.items() if number} == {
        "late": 2, "past": 2, "future": 2,
    }  # fmt: skip
    assert punctuality.watermark_ns == NOW - 4 * NS


def test_the_watermark_never_falls_unless_the_clock_does() -> None:
    punctuality = Punctuality()
    marks = []
    for now_s in (100, 102, 101, 50):
        punctuality.begin(now_s * NS)
        marks.append(punctuality.watermark_ns // NS)

    assert marks == [96, 98, 98, 46]


def test_a_child_whose_parent_never_comes_is_an_orphan() -> None:
    punctuality = Punctuality()
    for number, parent in ((2, 1), (3, 1), (5, 4)):
        punctuality.await_parent(span(number=number, parent=parent), now_ns=NOW)
    punctuality.see(span(number=4), now_ns=NOW + NS)

    assert punctuality.expire(now_ns=NOW + PARENT_WAIT_NS - 1) == 0
    assert punctuality.expire(now_ns=NOW + PARENT_WAIT_NS) == 2
    assert punctuality.expire(now_ns=NOW + 2 * PARENT_WAIT_NS) == 0
    assert punctuality.irregular["orphan"] == 2


def test_a_parent_of_another_trace_is_none() -> None:
    punctuality = Punctuality()
    punctuality.await_parent(span(number=2, parent=1, trace=1), now_ns=NOW)
    punctuality.see(span(number=1, trace=2), now_ns=NOW)

    assert punctuality.expire(now_ns=NOW + PARENT_WAIT_NS) == 1


def test_a_flood_of_orphans_is_bounded_and_said() -> None:
    punctuality = Punctuality()
    for trace in range(1, MAX_WAITING + 101):
        punctuality.await_parent(span(number=2, parent=1, trace=trace), now_ns=NOW)

    assert len(punctuality) == MAX_WAITING
    assert punctuality.irregular["untraced"] == 100
    assert punctuality.expire(now_ns=NOW + PARENT_WAIT_NS) == MAX_WAITING
    assert len(punctuality) == 0


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.integers(0, 2**63))
def test_whatever_times_come_each_span_is_of_one_kind_at_most(ends: list[int], now_ns: int) -> None:
    punctuality = Punctuality()
    punctuality.begin(now_ns)
    for end_ns in ends:
        punctuality.see(span(end_ns=end_ns), now_ns=now_ns)

    assert punctuality.irregular.total() <= len(ends)


def test_a_clock_set_back_leaves_no_parent_waited_for_for_ever() -> None:
    punctuality = Punctuality()
    punctuality.await_parent(span(number=2, parent=1), now_ns=NOW)

    assert punctuality.expire(now_ns=NOW - 3_600 * NS) == 1
