from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.domain import sketch

DURATIONS = st.lists(st.integers(min_value=128, max_value=2**42), min_size=1, max_size=300)


@given(DURATIONS, st.floats(min_value=0.001, max_value=1.0))
def test_quantiles_are_within_the_stated_error_of_the_exact_ones(durations: list[int], level: float) -> None:
    values = np.array(durations)

    got = sketch.quantile(sketch.count(sketch.bins_of(values)), level)

    exact = float(np.quantile(values, level, method="inverted_cdf"))
    assert got == pytest.approx(exact, rel=sketch.RELATIVE_ERROR + 1e-9)


@given(DURATIONS, DURATIONS)
def test_sketches_add_up(one: list[int], other: list[int]) -> None:
    apart = sketch.count(sketch.bins_of(np.array(one))) + sketch.count(sketch.bins_of(np.array(other)))

    assert (apart == sketch.count(sketch.bins_of(np.array(one + other)))).all()


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_every_duration_has_a_bin_whose_upper_edge_belongs_to_it(duration: int) -> None:
    index = sketch.bin_of(duration)

    assert 0 <= index < sketch.BINS
    assert index == 0 or sketch.EDGES[index - 1] < duration
    assert index == sketch.BINS - 1 or duration <= sketch.EDGES[index]


def test_every_eighth_edge_is_a_power_of_two() -> None:
    """So that Prometheus buckets are exact sums of bins."""
    assert sketch.EDGES[:: sketch.BINS_PER_OCTAVE].tolist() == [2.0**power for power in range(7, 43)]


def test_an_empty_sketch_answers_zero() -> None:
    assert sketch.quantile(np.zeros(sketch.BINS), 0.5) == 0.0


def test_weights_count_a_duration_several_times() -> None:
    counts = sketch.count(sketch.bins_of(np.array([1_000, 1_000_000])), np.array([1, 99]))

    assert sketch.quantile(counts, 0.02) == pytest.approx(1_000_000, rel=0.05)


def test_share_above_an_edge_leaves_out_the_edge_itself() -> None:
    counts = sketch.count(sketch.bins_of(np.array([1_000, 2_000, 4_000, 8_000])))

    assert sketch.share_above(counts, sketch.bin_of(2_000)) == 0.5
