from __future__ import annotations

import numpy as np
import pytest

from services.monitor.evaluation.nab import PROFILES, best, judge


def rows(*alarms: int, length: int = 1_000) -> np.ndarray:
    scores = np.zeros(length)
    scores[list(alarms)] = 1.0
    return scores


def standard(*alarms: int) -> float:
    return best([judge(rows(*alarms), [(500, 599)])], "standard").score


def test_perfect_is_100_and_silence_is_0() -> None:
    assert standard(500) == pytest.approx(100)
    assert standard() == 0


def test_early_is_better_and_only_the_first_in_a_window_counts() -> None:
    assert standard(500) > standard(550) > standard(599) > 50
    assert standard(500, 510, 520) == standard(500)


def test_a_false_alarm_costs_its_weight_and_less_right_after_a_window() -> None:
    assert standard(300, 500) == pytest.approx(100 - 100 * 0.11 / 2)
    assert standard(300, 500) < standard(602, 500) < 100


def test_what_is_in_probation_is_not_counted() -> None:
    assert standard(10, 500) == pytest.approx(100)


def test_one_threshold_serves_all_files() -> None:
    loud, quiet = rows(300, 500), 0.4 * rows(500)

    result = best([judge(loud, [(500, 599)]), judge(quiet, [(500, 599)], first_window=1)], "standard")

    assert result.found == 2
    assert result.threshold == pytest.approx(0.4)
    assert result.false_alarms == 1
    assert {best([judge(loud, [(500, 599)])], profile).profile for profile in PROFILES} == set(PROFILES)
