"""Times of many visits are thinned, and yet say how long all of them took."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from services.monitor.evaluation.periods import MAX_TIMES, Group, Period
from services.monitor.evaluation.spans import Place, Visit
from services.monitor.evaluation.suspects import rank


def period(times_ns: Iterable[int], *, replica: str = "", into: Period | None = None) -> Period:
    """A trace of one visit for each time."""
    found = Period() if into is None else into
    for own_ns in times_ns:
        found.add([Visit("t", Place("shop", "GET", replica), None, own_ns, False, frozenset())])
    return found


def merged(found: Period) -> Group:
    return found.by_operation()["shop", "GET"]


def test_replicas_weigh_by_their_visits_however_many_times_were_kept_of_each() -> None:
    found = period([10] * 20_000, replica="a")
    period([1_000] * 1_000, replica="b", into=found)

    group = merged(found)

    assert group.timed == 21_000
    assert group.total_ns() == pytest.approx(20_000 * 10 + 1_000 * 1_000, rel=0.05)


def test_of_many_replicas_no_one_is_left_out() -> None:
    found = Period()
    for number in range(1, 7):
        period([number] * 8_000, replica=f"r{number}", into=found)

    group = merged(found)

    assert len(group.times()) <= 4 * MAX_TIMES
    assert group.total_ns() == pytest.approx(8_000 * sum(range(1, 7)), rel=0.01)


def test_nothing_took_no_time() -> None:
    assert Group().total_ns() == 0.0


def test_how_much_of_a_reference_there_is_changes_no_score() -> None:
    random = np.random.default_rng(1)
    usual, slow = (random.lognormal(16, 0.4, size=20_000).astype(int), 3 * random.lognormal(16, 0.4, size=500))

    (short,) = rank(period(usual[:4_000].tolist()), period(slow.astype(int).tolist()))
    (long,) = rank(period(usual.tolist()), period(slow.astype(int).tolist()))

    assert long.score == pytest.approx(short.score, rel=0.05)
