from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.monitor.evaluation.multivariate import MultivariateScorer
from services.monitor.evaluation.series import SeriesScorer

LENGTH = 1_500


def scores(values: np.ndarray) -> np.ndarray:
    scorer = SeriesScorer()
    return np.array([scorer.score(float(value)) for value in values])


def daily(length: int = LENGTH, *, seed: int = 1, noise: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return 10 + 3 * np.sin(2 * np.pi * np.arange(length) / 48) + noise * random.normal(size=length)


FAULTS = {
    "spike": (slice(1_200, 1_201), lambda part: part + 4),
    "dip": (slice(1_200, 1_201), lambda part: part - 4),
    "level shift": (slice(1_200, 1_500), lambda part: part + 4),
    "flatline": (slice(1_200, 1_260), lambda part: np.full_like(part, part[0])),
    "more variance": (slice(1_200, 1_260), lambda part: part + np.random.default_rng(5).normal(size=part.size)),
    "a missing peak": (slice(1_200, 1_248), lambda part: np.minimum(part, 10.0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_scores_above_all_that_came_before(fault: str) -> None:
    where, change = FAULTS[fault]
    values = daily()
    values[where] = change(values[where])

    found = scores(values)

    assert found[1_200:1_260].max() > found[:1_200].max()


def test_scores_are_in_the_unit_interval_and_low_at_first() -> None:
    found = scores(daily())

    assert found.min() >= 0
    assert found.max() <= 1
    assert found[:100].max() < 0.3


values_of_any_kind = st.lists(
    st.one_of(
        st.floats(-10, 10),
        st.sampled_from([0.0, 1.0, 1e12, -1e12, float("nan"), float("inf"), 1e308, -1e308, 5e-324]),
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=30)
@given(values_of_any_kind, st.integers(0, 150), st.lists(st.floats(-1e3, 1e3), max_size=50))
def test_no_score_depends_on_what_comes_later(values: list[float], cut: int, other_end: list[float]) -> None:
    start = [*daily(120).tolist(), *values][: 120 + cut]

    whole = scores(np.array([*daily(120).tolist(), *values]))
    other = scores(np.array([*start, *other_end]))

    assert whole[: len(start)].tolist() == other[: len(start)].tolist()
    assert np.isfinite(whole).all()
    assert ((whole >= 0) & (whole <= 1)).all()


@pytest.mark.parametrize(("factor", "offset"), [(1_000.0, 0.0), (0.001, 5.0), (1.0, 1e4), (-2.0, 0.0)])
def test_scores_do_not_depend_on_unit_and_zero(factor: float, offset: float) -> None:
    values = daily(900)
    values[700] += 5

    assert scores(factor * values + offset) == pytest.approx(scores(values), abs=0.02)


def test_a_constant_series_is_silent_until_it_changes() -> None:
    found = scores(np.append(np.full(800, 42.0), 43.0))

    assert found[:-1].max() == 0
    assert found[-1] > 0.5


def test_a_value_that_is_missing_scores_nothing_and_changes_nothing() -> None:
    values = daily(600)
    gaps = np.insert(values, [300, 301, 500], np.nan)

    found = scores(gaps)

    assert found[np.isnan(gaps)].tolist() == [0, 0, 0]
    assert found[~np.isnan(gaps)].tolist() == scores(values).tolist()


def test_a_lasting_change_is_not_shouted_for_ever() -> None:
    values = daily(3_000)
    values[1_200:] += 4

    found = scores(values)

    assert found[1_200:1_210].max() > 0.6
    assert found[2_500:].max() < found[1_200:1_210].max()


def test_channels_that_part_are_found_though_each_looks_usual() -> None:
    random = np.random.default_rng(2)
    cause = random.normal(size=1_500)
    rows = np.stack([cause, 2 * cause + 0.05 * random.normal(size=1_500), random.normal(size=1_500)], axis=1)
    rows[1_200:1_220, 1] *= -1
    scorer = MultivariateScorer(3)

    found = np.array([scorer.score(tuple(row)) for row in rows.tolist()])

    assert found[1_200:1_220].max() > found[:1_200].max()
    assert ((found >= 0) & (found <= 1)).all()


def test_rows_of_channels_are_scored_by_what_came_before() -> None:
    random = np.random.default_rng(3)
    rows = random.normal(size=(400, 4)).tolist()
    rows[150][2] = float("nan")
    rows[160] = [float("nan")] * 4
    rows[170][1] = 1e308

    def run(part: list[list[float]]) -> list[float]:
        scorer = MultivariateScorer(4)
        return [scorer.score(tuple(row)) for row in part]

    whole = run(rows)

    assert whole[:250] == run(rows[:250])
    assert whole[160] == 0
    assert np.isfinite(whole).all()


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="got 2 values, expected 3"):
        MultivariateScorer(3).score((1.0, 2.0))
