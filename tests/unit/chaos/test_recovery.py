from __future__ import annotations

import pytest

from tests.chaos.recovery import counts, rate, time_to_recover


def steady(start: float, end: float, every: float = 0.01) -> list[float]:
    return [start + index * every for index in range(round((end - start) / every))]


def test_a_rate_counts_what_came_within() -> None:
    assert rate(steady(0, 10), 2, 4) == pytest.approx(100, abs=1)
    assert rate([], 0, 1) == 0


def test_nothing_happened_takes_no_time_to_recover_from() -> None:
    assert time_to_recover(steady(0, 10), struck=3, until=9.9, usual=100) == 0


@pytest.mark.parametrize("gap", [0.7, 1.7, 4.0])
def test_a_gap_takes_as_long_as_it_lasts(gap: float) -> None:
    answered = [*steady(0, 3), *steady(3 + gap, 12)]
    assert time_to_recover(answered, struck=3, until=11.9, usual=100) == pytest.approx(gap, abs=0.3)


def test_a_hiccup_is_none() -> None:
    answered = [*steady(0, 3), *steady(3.4, 12)]
    assert time_to_recover(answered, struck=3, until=11.9, usual=100) == 0


def test_what_comes_late_counts_from_the_fault() -> None:
    answered = [*steady(0, 5), *steady(6, 12)]
    assert time_to_recover(answered, struck=3, until=11.9, usual=100) == pytest.approx(3, abs=0.3)


def test_answers_that_stay_away_never_come_back() -> None:
    assert time_to_recover(steady(0, 3), struck=3, until=8, usual=100) == pytest.approx(5, abs=0.1)


def test_half_as_many_are_enough() -> None:
    answered = [*steady(0, 3), *steady(3, 12, every=0.016)]
    assert time_to_recover(answered, struck=3, until=11.9, usual=100) == 0


def test_a_timeline_has_its_zero_at_the_fault() -> None:
    assert counts([1.0, 1.95, 2.05, 2.06, 9.0], struck=2, start_s=-1, end_s=1, bin_s=0.5) == [1, 1, 2, 0]
