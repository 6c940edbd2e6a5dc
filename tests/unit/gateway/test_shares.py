"""Max-min fairness, beside its definition."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.shares import Shares


def fair_level(demands: list[float], capacity: float) -> float:
    """The most that anybody gets, by pouring: whoever has enough leaves, the others share what is left."""
    open_, left = sorted(demands), capacity
    while open_:
        level = left / len(open_)
        if open_[0] > level:
            return level
        left -= open_.pop(0)
    return math.inf


holdings = st.dictionaries(st.text(min_size=1, max_size=2), st.integers(1, 100), min_size=2, max_size=3)


def shares_of(held: dict[str, int]) -> Shares:
    shares = Shares()
    for caller, rows in held.items():
        shares.make(caller, now=0.0).rows = rows
    return shares


@given(held=holdings, wanting=st.sets(st.text(min_size=1, max_size=2), max_size=3), capacity=st.integers(1, 400))
def test_a_share_is_used_up_from_the_fair_level_on(held: dict[str, int], wanting: set[str], capacity: int) -> None:
    shares = shares_of({**dict.fromkeys(wanting, 0), **held})
    for caller in wanting:
        shares.note_refusal(shares[caller], room=5.0, now=0.0)
    demands = [math.inf if caller in wanting else float(rows) for caller, rows in held.items()]
    level = fair_level([*demands, *(math.inf for caller in wanting - held.keys())], capacity)
    for caller, rows in held.items():
        if abs(rows - level) > 1e-9:
            shares._uses = 10**9  # as if it had been asked often
            assert shares.is_used_up(shares[caller], capacity, rows=0, now=1.0) == (rows > level)
            shares[caller].rows -= 1
            if rows > 1 and abs(rows - 0.5 - level) > 1e-9:
                shares._uses = 10**9
                assert shares.is_used_up(shares[caller], capacity, rows=1, now=1.0) == (rows - 0.5 > level)
            shares[caller].rows += 1


def test_those_that_were_refused_are_remembered_for_a_while_and_not_without_bound() -> None:
    shares = Shares()
    for index in range(5_000):
        shares.note_refusal(shares.make(f"caller {index}", now=0.0), room=10.0, now=0.0)
    assert sum(share.wants_until > 1.0 for share in shares.values()) == 1_024
    somebody = shares.make("somebody", now=1.0)
    shares._uses = 10**9
    assert shares.room_beside(somebody, now=1.0) == 10.0
    shares._uses = 10**9
    assert shares.room_beside(somebody, now=3.0) == math.inf


def test_callers_that_come_and_go_are_forgotten() -> None:
    shares = shares_of({"one that stays": 1})
    for index in range(5_000):
        shares.note_refusal(shares.make(f"caller {index}", now=index), room=10.0, now=index)
        assert len(shares) <= 64
    assert "one that stays" in shares


def test_a_caller_with_many_others_beside_it() -> None:
    shares = shares_of({"greedy": 500, **{f"caller {index}": 1 for index in range(500)}, "new": 0})
    assert shares.is_used_up(shares["greedy"], 1_000, rows=1, now=0.0)
    assert not shares.is_used_up(shares["greedy"], 1_001, rows=1, now=0.0)
    assert not shares.is_used_up(shares["caller 1"], 1_001, rows=1, now=0.0)
    assert not shares.is_used_up(shares["new"], 10, rows=1, now=0.0)
