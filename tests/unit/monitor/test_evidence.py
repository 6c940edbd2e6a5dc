from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.domain.evidence import MULTIPLIERS, average_run_length, gains, upper_limit
from services.monitor.domain.reference import LATENCY_LIMITS

LIMITS = {"errors at most 0.2 %": np.array([0.002]), "errors at most 5 %": np.array([0.05]), "latency": LATENCY_LIMITS}


def advance(log_m: np.ndarray, shares: np.ndarray, limits: np.ndarray) -> np.ndarray:
    return np.maximum(log_m, 0.0) + gains(shares, limits)


def log_evidence(log_m: np.ndarray) -> np.ndarray:
    """Of several streams, [..., levels, multipliers]."""
    return np.log(np.exp(log_m).mean(axis=(-2, -1)))


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
def test_false_alarms_are_no_more_frequent_than_declared(limits: np.ndarray) -> None:
    """A million null observations at the limit itself; of one duration the levels see nested exceedances."""
    declared, streams, steps = 1_000.0, 1_000, 1_000
    random = np.random.default_rng(7)
    log_m = np.zeros((streams, len(limits), len(MULTIPLIERS)))
    alarms = 0
    for _ in range(steps):
        shares = (random.random((streams, 1)) < limits).astype(float)
        log_m = advance(log_m, shares, limits)
        raised = log_evidence(log_m) >= math.log(declared)
        log_m[raised] = 0.0
        alarms += int(raised.sum())

    assert 0 < alarms <= streams * steps / declared


@given(st.floats(0.001, 0.9), st.integers(1, 64))
def test_a_share_of_a_dependent_batch_is_no_evidence_on_average(limit: float, size: int) -> None:
    """The factor is linear in the share, so only its mean matters: here all of a batch fail, or none."""
    limits = np.array([limit])
    start = np.zeros((1, len(MULTIPLIERS)))

    all_fail, none_fails = (np.exp(advance(start, np.array([share]), limits)) for share in (1.0, 0.0))
    apart = np.exp(advance(start, np.array([1 / size]), limits))

    np.testing.assert_allclose(limit * all_fail + (1 - limit) * none_fails, 1.0, rtol=1e-9)
    np.testing.assert_allclose(apart, (all_fail + (size - 1) * none_fails) / size, rtol=1e-9)


def test_a_lasting_rise_is_found_and_a_single_failure_is_not() -> None:
    limits, threshold = np.array([0.002]), math.log(1.2e8)
    log_m = advance(np.zeros((1, len(MULTIPLIERS))), np.array([1.0]), limits)
    assert log_evidence(log_m) < threshold / 3

    for _ in range(25):
        log_m = advance(log_m, np.array([0.05]), limits)

    assert log_evidence(log_m) >= threshold


@given(st.floats(0, 1), st.integers(1, 10_000))
def test_the_upper_limit_lies_above_the_mean_and_shrinks_with_trials(mean: float, trials: int) -> None:
    limit = upper_limit(mean, trials)

    assert mean <= limit <= 1.0
    assert upper_limit(mean, trials * 2) <= limit


def test_without_a_failure_the_upper_limit_is_the_exact_one() -> None:
    assert upper_limit(0.0, 1_000, risk=0.01) == pytest.approx(1 - 0.01 ** (1 / 1_000), rel=1e-6)
    assert upper_limit(0.5, 0) == 1.0


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_upper_limit_is_missed_no_more_often_than_its_risk(rate: float) -> None:
    means = np.random.default_rng(3).binomial(30, rate, 4_000) / 30
    limits = {float(mean): upper_limit(float(mean), 30) for mean in np.unique(means)}

    assert np.mean([limits[float(mean)] < rate for mean in means]) <= 0.01


def test_one_setting_declares_the_run_length() -> None:
    assert average_run_length(false_alarms_per_week=1, assumed_series=200) == pytest.approx(1.2096e8)
    assert average_run_length(false_alarms_per_week=2, assumed_series=200) == pytest.approx(0.6048e8)
