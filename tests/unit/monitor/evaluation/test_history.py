from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.evaluation.history import History, find_period


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 8))
def test_history_holds_the_latest_values(values: list[float], capacity: int) -> None:
    history = History(capacity)
    for value in values:
        history.append(value)

    assert len(history) == min(len(values), capacity)
    assert history.latest(capacity).tolist() == values[-capacity:]
    assert history.back(1) == values[-1]


@pytest.mark.parametrize("period", [7, 24, 96, 288])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_period_is_found_in_noise_and_trend(period: int, noise: float) -> None:
    random = np.random.default_rng(1)
    steps = np.arange(6 * period)
    values = np.maximum(0, np.sin(2 * np.pi * steps / period)) + noise * random.normal(size=steps.size) + 0.001 * steps

    assert find_period(values) == pytest.approx(period, rel=0.05, abs=1)


def test_noise_a_walk_and_a_constant_have_no_period() -> None:
    random = np.random.default_rng(2)

    assert find_period(random.normal(size=2_000)) == 0
    assert find_period(np.full(500, 3.0)) == 0
    assert find_period(np.arange(500.0)) == 0
    assert find_period(random.normal(size=10)) == 0
