"""When a batch is due, and who is in it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.domain.batching import Backlog, BatchPolicy, Regrouping


@dataclass(frozen=True, slots=True)
class Item:
    number: int
    rows: int
    bucket: Hashable
    urgency: tuple[int, int]


items = st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["a", "b", None]), st.integers(0, 3)), max_size=30).map(
    lambda rows: [Item(n, size, bucket, (level, n)) for n, (size, bucket, level) in enumerate(rows)]
)


@given(items, st.integers(1, 10))
def test_every_request_is_cut_once_in_batches_that_keep_the_rules(requests: list[Item], max_rows: int) -> None:
    backlog: Backlog[Item] = Backlog(max_rows)
    for request in requests:
        backlog.add(request)

    seen: list[int] = []
    while backlog:
        head, announced = backlog.head, backlog.rows
        batch = backlog.cut()
        rows = sum(one.rows for one in batch)
        assert batch[0] is head, "the most urgent goes first"
        assert len(batch) == 1 or (rows <= max_rows and {one.bucket for one in batch} == {head.bucket} != {None})
        assert (announced >= max_rows) or announced == rows, "a batch that isn't announced as full holds all that fits"
        seen += [one.number for one in batch]
    assert sorted(seen) == list(range(len(requests)))
    assert backlog.cut() == []


@given(items)
def test_requests_of_a_bucket_keep_their_order(requests: list[Item]) -> None:
    backlog: Backlog[Item] = Backlog(8)
    for request in requests:
        backlog.add(request)
    order = []
    while backlog:
        order += backlog.cut()
    for bucket in ("a", "b", None):
        urgencies = [one.urgency for one in order if one.bucket == bucket]
        assert urgencies == sorted(urgencies)


@given(st.integers(1, 100), st.floats(0, 10), st.integers(1, 200), st.floats(0, 20))
def test_the_wait_never_exceeds_the_delay_and_a_full_batch_is_due(
    max_rows: int, max_wait_s: float, rows: int, age_s: float
) -> None:
    due_in = BatchPolicy(max_rows, max_wait_s).due_in(rows=rows, oldest_age_s=age_s)
    assert 0 <= due_in <= max(0.0, max_wait_s - age_s)
    assert due_in == 0 or rows < max_rows


MS = 1_000_000


def ended(regrouping: Regrouping, *, rows: int = 8, took_ms: int = 100) -> None:
    regrouping.batch_ended(rows=rows, start_ns=0, end_ns=took_ms * MS)


def test_after_a_long_batch_those_who_were_in_it_are_waited_for() -> None:
    regrouping = Regrouping()
    ended(regrouping)

    assert regrouping.is_on
    # Eight others came while it ran; its own eight come back one by one.
    assert regrouping.due_in(rows=8, earlier_rows=8, now_ns=100 * MS) == 0.02
    assert regrouping.due_in(rows=12, earlier_rows=8, now_ns=114 * MS) == 0.006
    assert regrouping.due_in(rows=16, earlier_rows=8, now_ns=104 * MS) == 0
    assert regrouping.due_in(rows=12, earlier_rows=8, now_ns=121 * MS) == 0


def test_after_a_short_batch_nobody_is_waited_for() -> None:
    regrouping = Regrouping()
    ended(regrouping, took_ms=4)
    assert not regrouping.is_on


class Callers:
    """Cuts batches of eight rows that take 100 ms; ``delays_ms`` after each one's end so many callers come again."""

    def __init__(self) -> None:
        self.regrouping = Regrouping()
        self.now_ns = 0
        self.waiting: list[int] = []
        self.held_ms = 0.0

    def batch(self, *delays_ms: int) -> bool:
        """Run one; whether the next one is held back."""
        self.regrouping.batch_ended(rows=8, start_ns=self.now_ns, end_ns=self.now_ns + 100 * MS)
        self.now_ns += 100 * MS
        self.waiting += [self.now_ns + delay * MS for delay in delays_ms]
        self.held_ms = 0.0
        if self.regrouping.is_on:
            self.held_ms = 1e3 * self.regrouping.due_in(rows=0, earlier_rows=0, now_ns=self.now_ns)
        cut_ns = self.now_ns + int(self.held_ms * MS)
        in_hand = [(instant, 1) for instant in self.waiting if instant <= cut_ns]
        self.waiting = [instant for instant in self.waiting if instant > cut_ns]
        self.regrouping.batch_cut(in_hand, now_ns=cut_ns)
        self.now_ns = cut_ns
        return self.held_ms > 0


def test_nobody_is_waited_for_any_more_after_some_batches_whose_callers_did_not_come_again() -> None:
    callers = Callers()
    held = [callers.batch(3, 3, 3, 4, 4, 4, 5, 5) for _ in range(10)]
    assert all(held)
    assert [callers.batch() for _ in range(10)] == [True] * 4 + [False] * 6


def test_callers_who_come_again_are_noticed_though_nobody_waits_for_them() -> None:
    callers = Callers()
    while callers.batch():
        pass
    held = [callers.batch(3, 3, 3, 4, 4, 4, 5, 5) for _ in range(8)]
    assert held[0] is False
    assert all(held[4:])


def test_stragglers_are_waited_for_about_twice_as_long_as_callers_usually_take() -> None:
    callers = Callers()
    for _ in range(10):
        callers.batch(2, 2, 2, 3, 3, 3, 4, 4)
    assert callers.held_ms == pytest.approx(9)
    for _ in range(20):
        callers.batch(2, 2, 2, 3, 3, 3, 4, 15)
    assert callers.held_ms == pytest.approx(20)


def test_callers_who_come_as_often_at_any_time_are_not_waited_for() -> None:
    callers = Callers()
    held = [callers.batch(1, 14, 26, 39, 51, 64, 76, 89) for _ in range(10)]
    assert not any(held[1:])


def test_a_short_batch_in_between_is_waited_for_as_for_the_others() -> None:
    regrouping = Regrouping()
    for _ in range(10):
        ended(regrouping, rows=15, took_ms=60)
    ended(regrouping, rows=1, took_ms=20)
    assert regrouping.due_in(rows=15, earlier_rows=15, now_ns=20 * MS) > 0.008


def test_who_came_before_an_instant_is_counted_in_rows() -> None:
    backlog: Backlog[Item] = Backlog(8)
    for number, instant in enumerate((5, 10, 11)):
        backlog.add(Item(number, number + 1, "a", (0, instant)))
    assert [backlog.rows_until(instant) for instant in (4, 10, 11)] == [0, 3, 6]
    assert backlog.arrivals == [(5, 1), (10, 2), (11, 3)]
