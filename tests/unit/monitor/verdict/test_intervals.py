"""Intervals hold the truth at all times, and the informative tests say what others say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from services.monitor.domain import sketch
from services.monitor.domain.verdict.intervals import overlap_p_values, quantile_interval, share_interval


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_share_stays_in_its_interval(share: float) -> None:
    random, missed = np.random.default_rng(1), 0
    for _ in range(200):
        totals = np.cumsum(random.random(600) < share)
        looks = [share_interval(float(totals[at - 1]), at, alpha=0.05) for at in range(20, 601, 20)]
        missed += any(not low <= share <= high for low, high in looks)
    assert missed <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05)


def test_an_interval_narrows_and_holds_the_estimate() -> None:
    widths = [share_interval(0.1 * n, n, alpha=0.05) for n in (10, 100, 1000)]
    assert all(low < 0.1 < high for low, high in widths)
    assert widths[0][1] - widths[0][0] > widths[1][1] - widths[1][0] > widths[2][1] - widths[2][0]
    assert share_interval(0.0, 0.0, alpha=0.05) == (0.0, 1.0)


def test_an_interval_without_failures_is_about_that_of_others() -> None:
    """Of 0 in 1000 the exact one-sided bound for one look is 0.3 %."""
    low, high = share_interval(0.0, 1000.0, alpha=0.05)
    assert low == 0.0
    assert 0.003 < high < 0.009


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_a_quantile_stays_in_its_interval(level: float) -> None:
    random, missed, repetitions = np.random.default_rng(2), 0, 60
    truth = 20e6 * math.exp(0.5 * stats.norm.ppf(level))
    for _ in range(repetitions):
        bins = sketch.bins_of(20e6 * np.exp(0.5 * random.standard_normal(1_000)))
        looks = [quantile_interval(sketch.count(bins[:at]), level, at, alpha=0.05) for at in range(50, 1_001, 50)]
        missed += any(not low <= truth <= high for low, high in looks)
    assert missed <= repetitions * 0.05 + 3 * math.sqrt(repetitions * 0.05)
    low, high = looks[-1]
    assert low > 0
    assert high < 4 * truth


def test_nothing_is_known_of_a_quantile_without_data() -> None:
    assert quantile_interval(np.zeros(sketch.BINS, np.int64), 0.5, 0, alpha=0.05) == (0.0, math.inf)


@pytest.mark.parametrize("shift", [1.0, 1.1, 1.5])
def test_informative_tests_agree_with_scipy(shift: float) -> None:
    random = np.random.default_rng(3)
    first = sketch.bins_of(20e6 * shift * np.exp(0.5 * random.standard_normal(300)))
    second = sketch.bins_of(20e6 * np.exp(0.5 * random.standard_normal(2_000)))

    rank_p, distance_p = overlap_p_values(sketch.count(first), sketch.count(second))

    expected = stats.mannwhitneyu(first, second, use_continuity=False, method="asymptotic").pvalue
    assert rank_p == pytest.approx(expected, rel=1e-6)
    distance = stats.ks_2samp(first, second).statistic
    asymptotic = stats.kstwobign.sf(distance * math.sqrt(300 * 2_000 / 2_300))
    assert distance_p == pytest.approx(asymptotic, rel=1e-3, abs=1e-12)


def test_informative_tests_of_nothing_say_nothing() -> None:
    empty, some = np.zeros(sketch.BINS, np.int64), sketch.count(np.array([5, 5, 5]))
    assert overlap_p_values(empty, some) == (1.0, 1.0)
    assert overlap_p_values(some, some) == (1.0, 1.0)
