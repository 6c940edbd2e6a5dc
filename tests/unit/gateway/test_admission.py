"""What a lane takes and refuses, and how it tells: in virtual time."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import UnavailableError
from services.gateway.domain.lane import Lane
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.refusals import whole_seconds
from services.gateway.domain.shares import Share
from tests.unit.gateway.requests import served
from tests.unit.gateway.traffic import Site, Source

STEADY_S = 3.0
"""From when on a lane in these tests knows what it can do."""


def share_of(lane: Lane, caller: str, priority: int = 0) -> Share:
    shares = lane.tiers[priority].shares
    return shares.get(caller) or shares.make(caller, now=0.0)


def check(lane: Lane, *, now: float = 0.0, caller: str = "a", priority: int = 0, timeout_s: float = 60.0) -> None:
    share = share_of(lane, caller, priority)
    lane.check_admits(lane.tiers[priority], share, rows=1, timeout_s=timeout_s, now=now, grace_s=10.0)


def fill(lane: Lane, count: int, *, caller: str = "a", priority: int = 0) -> None:
    for _ in range(count):
        lane.enter(lane.tiers[priority], share_of(lane, caller, priority), 1)


def test_a_lane_takes_requests_until_its_grace_is_over() -> None:
    lane = Lane(served(), now=100.0)
    check(lane, now=110.0)
    with pytest.raises(UnavailableError, match="model 'm' version 1 has no live process") as caught:
        check(lane, now=110.1)
    assert caught.value.retry_after_s
    lane.observe_consumers(2, now=120.0)
    check(lane, now=200.0)
    lane.observe_consumers(0, now=200.0)
    assert not lane.is_live
    lane.observe_consumers(0, now=205.0)
    check(lane, now=210.0)
    with pytest.raises(UnavailableError):
        check(lane, now=210.1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 5)), max_size=30), st.randoms())
def test_nothing_is_left_of_callers_that_have_gone(entries: list[tuple[str, int, int]], random: Random) -> None:
    lane = Lane(served(priority_levels=2), now=0.0)
    for caller, priority, rows in entries:
        lane.enter(lane.tiers[priority], share_of(lane, caller, priority), rows)
    assert (lane.unsettled, lane.rows) == (len(entries), sum(rows for *_, rows in entries))
    for priority, tier in lane.tiers.items():
        assert sum(share.rows for share in tier.shares.values()) == sum(
            rows for _, one, rows in entries if one == priority
        )
    random.shuffle(entries)
    for caller, priority, rows in entries:
        lane.leave(lane.tiers[priority], share_of(lane, caller, priority), rows)
    assert (lane.unsettled, lane.rows) == (0, 0)
    for tier in lane.tiers.values():
        assert (tier.unsettled, tier.rows, sum(share.rows for share in tier.shares.values())) == (0, 0, 0)


def test_a_full_lane_refuses() -> None:
    lane = Lane(served(max_queue_size=2), now=0.0)
    fill(lane, 2)
    with pytest.raises(
        UnavailableError, match=r"Exceeds maximum queue size: .* has 2 requests .*, expected less than 2"
    ) as caught:
        check(lane)
    assert (caught.value.reason, caught.value.retry_after_s) == ("QUEUE_FULL", 1)


def test_a_lone_caller_may_use_all_of_a_queue_and_a_second_one_is_let_in_before_it() -> None:
    lane = Lane(served(max_queue_size=100), now=0.0)
    lane.observe_consumers(1, now=0.0)
    fill(lane, 99, caller="greedy")
    check(lane, caller="greedy")
    check(lane, caller="modest")
    fill(lane, 1, caller="modest")
    lane.leave(lane.tiers[0], share_of(lane, "greedy"), 1)
    with pytest.raises(UnavailableError, match="fair share") as caught:
        check(lane, caller="greedy")
    assert caught.value.reason == "FAIR_SHARE_USED_UP"
    check(lane, caller="modest")


def test_a_caller_that_found_the_queue_full_is_let_in_before_those_that_filled_it() -> None:
    lane = Lane(served(max_queue_size=100), now=0.0)
    lane.observe_consumers(1, now=0.0)
    fill(lane, 100, caller="greedy")
    with pytest.raises(UnavailableError, match="maximum queue size"):
        check(lane, caller="modest", now=1.0)
    lane.leave(lane.tiers[0], share_of(lane, "greedy"), 1)
    with pytest.raises(UnavailableError, match="fair share"):
        check(lane, caller="greedy", now=1.5)
    check(lane, caller="modest", now=2.0)
    check(lane, caller="greedy", now=9.0)


def test_a_queue_full_of_less_urgent_requests_keeps_no_urgent_one_out() -> None:
    lane = Lane(served(max_queue_size=50, priority_levels=2), now=0.0)
    lane.observe_consumers(1, now=0.0)
    fill(lane, 50, priority=2)
    check(lane, priority=1)
    fill(lane, 50, priority=1)
    for priority in (1, 2):
        with pytest.raises(UnavailableError, match="maximum queue size"):
            check(lane, priority=priority)


def test_a_full_queue_of_urgent_requests_keeps_the_less_urgent_out() -> None:
    lane = Lane(served(max_queue_size=50, priority_levels=2), now=0.0)
    fill(lane, 50, priority=1)
    with pytest.raises(UnavailableError, match="maximum queue size"):
        check(lane, priority=2)


def test_three_times_what_a_lane_can_do() -> None:
    site = Site()
    outcome = site.run([Source("a", 240, timeout_s=1.0)])
    assert outcome.rate(since=STEADY_S, until=20) >= 0.95 * site.capacity
    assert outcome.missed(since=STEADY_S) == []
    assert set(outcome.reasons_of("a")) == {"DEADLINE_UNREACHABLE"}
    assert {error.retry_after_s for _, _, error in outcome.refused} == {1}


def test_mixed_deadlines_each_kept_or_refused() -> None:
    site = Site(processes=2)
    outcome = site.run([Source(f"{seconds}", 160, timeout_s=seconds) for seconds in (0.3, 1.0, 5.0)])
    assert outcome.rate(since=STEADY_S, until=20) >= 0.95 * site.capacity
    assert outcome.missed(since=STEADY_S) == []
    for seconds in (0.3, 1.0, 5.0):
        assert outcome.answers_of(f"{seconds}", since=STEADY_S) > 300, "a third of what there is is 900"


def test_requests_of_several_rows() -> None:
    site = Site(batch=8)
    outcome = site.run([Source("a", 60, rows=5), Source("b", 60, rows=3)])
    assert outcome.missed(since=STEADY_S) == []
    assert outcome.rate(since=STEADY_S, until=20) > 0.6 * site.capacity, "batches of 5 rows and of 3 don't fill 8"


def test_a_caller_within_its_share_loses_nothing_to_a_greedy_one() -> None:
    outcome = Site().run([Source("greedy", 200), Source("modest", 30), Source("small", 5)])
    assert outcome.reasons_of("small") == {}
    assert outcome.reasons_of("modest").total() <= 6, "one in a hundred, while nothing is known yet"
    assert outcome.reasons_of("greedy")["FAIR_SHARE_USED_UP"] > 0
    assert outcome.missed(since=STEADY_S) == []
    assert outcome.rate(since=STEADY_S, until=20) >= 76


def test_greedy_callers_get_equal_shares() -> None:
    outcome = Site().run([Source("a", 300), Source("b", 150), Source("c", 60)])
    shares = [outcome.answers_of(caller, since=STEADY_S) / 17 for caller in "abc"]
    assert sum(shares) >= 76
    assert all(22 <= share <= 32 for share in shares), shares


def test_urgent_requests_are_all_taken_and_the_others_have_the_rest() -> None:
    site = Site(priority_levels=2)
    outcome = site.run([Source("low", 200, priority=2), Source("high", 40, priority=1)])
    assert outcome.reasons_of("high") == {}
    assert outcome.missed(since=STEADY_S) == []
    assert outcome.answers_of("low", since=STEADY_S) / 17 >= 0.9 * (site.capacity - 40)
    waits = sorted(one.ended - one.born for one in outcome.answered if one.source.caller == "high")
    assert waits[-1] <= 3 * site.batch_s


def test_what_urgent_requests_leave_is_known_to_the_others() -> None:
    """They wait for all that comes before them meanwhile, too."""
    outcome = Site(priority_levels=2).run([Source("low", 200, priority=2), Source("high", 70, priority=1)])
    assert outcome.reasons_of("high") == {}
    assert len(outcome.missed(since=STEADY_S)) <= 0.02 * outcome.answers_of("low", since=STEADY_S)


def test_an_idle_lane_refuses_nothing_however_short_the_deadline() -> None:
    outcome = Site().run([Source("a", 10, timeout_s=0.06, end=5.0)])
    assert outcome.refused == []


def test_the_first_burst_and_a_slow_first_batch_are_no_reason_to_refuse() -> None:
    site = Site()
    site.paused = (0.0, 2.0)
    outcome = site.run([Source("a", 1_000, end=0.1, timeout_s=10.0)])
    assert (len(outcome.answered), outcome.refused) == (100, [])


def test_a_pause_while_busy_refuses_none_that_can_be_served() -> None:
    site = Site()
    site.paused = (8.0, 11.0)
    outcome = site.run([Source("a", 79, timeout_s=10.0)])
    assert outcome.refused == []
    assert outcome.missed() == []
    assert len(outcome.answered) == 20 * 79


def test_what_was_known_of_a_lane_is_forgotten_after_a_while() -> None:
    site = Site()
    busy, burst = Source("a", 200, end=3.0), Source("b", 1_000, start=60.0, end=60.1, timeout_s=0.5)
    outcome = site.run([busy, burst])
    assert outcome.reasons_of("a")
    assert outcome.reasons_of("b") == {}


def test_a_lane_that_became_faster_is_believed_within_seconds() -> None:
    site = Site()
    outcome = site.run([Source("a", 200, timeout_s=0.5, end=5.0)])
    assert outcome.refused
    site.batch_s = 0.01
    faster = site.run([Source("a", 200, timeout_s=0.5, start=6.0, end=16.0)])
    assert not [when for when, _, _ in faster.refused if when > 9.0]


def test_short_deadlines_of_one_caller_are_not_lost_behind_long_ones_of_another() -> None:
    outcome = Site().run([Source("patient", 200, timeout_s=60.0), Source("hurried", 30, timeout_s=0.8)])
    assert outcome.answers_of("hurried", since=STEADY_S) / 17 >= 27
    assert outcome.rate(since=STEADY_S, until=20) >= 76


def test_short_deadlines_do_not_starve_processes_that_requests_are_long_on_their_way_to() -> None:
    """The less is under way then, the less is answered; that is no reason to let even less be under way."""
    site = Site(batch_s=0.02)
    site.pipe_s = 0.07
    callers = [Source("patient", 400, timeout_s=30.0, end=12.0), Source("hurried", 200, timeout_s=0.25, end=12.0)]
    assert site.run(callers).rate(since=STEADY_S, until=12) >= 0.65 * site.capacity


def test_a_refusal_says_in_figures_why_and_when_to_come_again() -> None:
    site = Site()
    outcome = site.run([Source("a", 400, timeout_s=12.0)])
    first = next(error for _, _, error in outcome.refused if error.reason == "DEADLINE_UNREACHABLE")
    assert "rows waiting or running before this request, answers about 80 a second" in first.message
    assert "expected less than 12 s" in first.message
    assert site.lane.estimated_wait_s(now=20.0) == 0.0


@pytest.mark.parametrize(("seconds", "said"), [(-5.0, 1), (0.0, 1), (1.01, 2), (7.0, 7), (1e9, 60)])
def test_when_to_come_again_is_in_whole_seconds_and_bounded(seconds: float, said: int) -> None:
    assert whole_seconds(seconds) == said


def test_pending_bytes_are_bounded_but_for_one_request_alone() -> None:
    pending = PendingBytes(100)
    pending.check(1_000)
    pending.held = 60
    pending.check(40)
    with pytest.raises(UnavailableError, match="holds requests of 60 bytes, got one of 41, expected at most 100"):
        pending.check(41)
