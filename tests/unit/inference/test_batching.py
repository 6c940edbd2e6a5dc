"""When a batch is due, and who is in it."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass

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
    assert regrouping.due_in(rows=8, earlier_rows=8, now_ns=100 * MS) == 0.01
    assert regrouping.due_in(rows=12, earlier_rows=8, now_ns=104 * MS) == 0.006
    assert regrouping.due_in(rows=16, earlier_rows=8, now_ns=104 * MS) == 0
    assert regrouping.due_in(rows=12, earlier_rows=8, now_ns=111 * MS) == 0


def test_after_a_short_batch_nobody_is_waited_for() -> None:
    regrouping = Regrouping()
    ended(regrouping, took_ms=4)
    assert not regrouping.is_on


def test_waiting_in_vain_is_tried_less_and_less_often() -> None:
    regrouping, tries = Regrouping(), []
    for batch in range(400):
        ended(regrouping)
        if regrouping.is_on:
            tries.append(batch)
            regrouping.batch_cut(rows=8, earlier_rows=8)

    pauses = [after - before - 1 for before, after in itertools.pairwise(tries)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 64, 64]


def test_waiting_that_was_of_use_is_repeated_at_once() -> None:
    regrouping = Regrouping()
    for rows in (8, 9):
        ended(regrouping)
        regrouping.batch_cut(rows=rows, earlier_rows=8)
        ended(regrouping)  # left out after the vain one
    assert regrouping.is_on


def test_who_came_before_an_instant_is_counted_in_rows() -> None:
    backlog: Backlog[Item] = Backlog(8)
    for number, instant in enumerate((5, 10, 11)):
        backlog.add(Item(number, number + 1, "a", (0, instant)))
    assert [backlog.rows_until(instant) for instant in (4, 10, 11)] == [0, 3, 6]
