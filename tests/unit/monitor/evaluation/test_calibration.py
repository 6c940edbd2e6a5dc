from __future__ import annotations

import numpy as np
import pytest

from services.monitor.evaluation.calibration import MOST_NINES, TailCalibrator


def told(values: np.ndarray, **settings: float) -> np.ndarray:
    calibrator = TailCalibrator(**settings)
    return np.array([calibrator.nines(float(value)) for value in values])


@pytest.mark.parametrize("law", ["normal", "laplace", "lognormal"])
def test_a_share_of_a_tenth_of_the_past_has_one_nine(law: str) -> None:
    """Nines are probabilities, whatever the distribution: about 10 % of values have one, 1 % have two."""
    random = np.random.default_rng(3)
    found = told(getattr(random, law)(size=20_000))[2_000:]

    assert np.mean(found > 1) == pytest.approx(0.1, rel=0.2)
    assert np.mean(found > 2) == pytest.approx(0.01, rel=0.5)
    assert np.mean(found > 4) < 0.001


def test_what_is_farther_out_has_more_nines_beyond_all_that_was_seen() -> None:
    random = np.random.default_rng(4)
    past = random.normal(size=2_000)

    nines = [told(np.append(past, outlier))[-1] for outlier in (5, 10, 20, 100)]

    assert nines == sorted(nines)
    assert len(set(nines)) == 4
    assert nines[0] > 3


def test_both_tails_are_judged_apart() -> None:
    """Nothing of a positive series was ever below 0.9: 0.2 is unlikely though 30 is not."""
    random = np.random.default_rng(5)
    past = 1 + random.exponential(5, size=2_000)

    assert told(np.append(past, 0.2))[-1] > told(np.append(past, 10.0))[-1] + 1


def test_one_sided_finds_small_values_usual() -> None:
    random = np.random.default_rng(6)

    assert told(np.append(5 + random.random(2_000), 0.0), is_two_sided=False)[-1] == 0


def test_what_lasts_becomes_usual() -> None:
    random = np.random.default_rng(7)
    found = told(np.concatenate([random.normal(size=3_000), 30 + random.normal(size=1_000)]))

    assert found[3_000] > 5
    assert found[-100:].mean() < 1.5


def test_nothing_is_unlikely_before_the_warm_up_and_numbers_stay_finite() -> None:
    assert told(np.array([0.0] * 10 + [1e300])).max() == 0
    found = told(np.array([0.0] * 500 + [1e300, -1e300, 1e-300]))
    assert np.isfinite(found).all()
    assert found.max() <= MOST_NINES
