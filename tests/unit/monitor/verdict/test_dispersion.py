"""How many requests, and how many seconds, count as one."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest

from services.monitor.domain.verdict.dispersion import HELD_BACK, LEAST_SECONDS, Dispersion


def learnt(shares: Iterable[float], *, units: int = 20) -> Dispersion:
    """From the shares of seconds with so many units each."""
    dispersion = Dispersion()
    for share in shares:
        dispersion.add(share * units, units, is_suspicious=False)
    return dispersion


def test_independent_requests_count_each() -> None:
    random = np.random.default_rng(1)
    dispersion = learnt(random.binomial(20, 0.1, 400) / 20)
    assert dispersion.size(20) < 1.6
    assert dispersion.inflation < 1.3


def test_seconds_that_are_one_event_count_as_one() -> None:
    random = np.random.default_rng(2)
    dispersion = learnt((random.random(400) < 0.1).astype(float))
    assert 15 < dispersion.size(20) < 30
    assert dispersion.inflation < 1.5


def test_noise_that_lasts_makes_seconds_count_less() -> None:
    random, level, shares = np.random.default_rng(3), 0.0, []
    for _ in range(600):
        level = 0.8 * level + 0.6 * random.standard_normal()
        shares.append(random.binomial(20, 1 / (1 + np.exp(2 - level))) / 20)
    assert 2.5 < learnt(shares).inflation < 12


def test_nothing_is_believed_at_first() -> None:
    random = np.random.default_rng(4)
    dispersion = learnt(random.binomial(20, 0.3, LEAST_SECONDS - 1) / 20)
    assert dispersion.size(20) == 20
    assert dispersion.size(0.5) == 1.0


def test_what_hardly_ever_happens_teaches_nothing() -> None:
    assert learnt([0.0] * 200).size(20) == 20
    assert learnt([1.0] * 200).size(20) == 20


def test_a_change_is_not_taken_for_noise() -> None:
    """The newest seconds are held back, and dropped once there is a suspicion."""
    random = np.random.default_rng(5)
    dispersion = learnt(random.binomial(20, 0.1, 200) / 20)
    before = dispersion.size(20), dispersion.inflation
    learnt_before = dispersion.seconds
    for _ in range(HELD_BACK // 2):
        dispersion.add(16.0, 20, is_suspicious=False)
    for _ in range(100):
        dispersion.add(16.0, 20, is_suspicious=True)
    assert (dispersion.size(20), dispersion.inflation) == pytest.approx(before, rel=0.2)
    assert dispersion.seconds == learnt_before + HELD_BACK // 2


def test_it_survives_json() -> None:
    random = np.random.default_rng(6)
    dispersion = learnt(random.binomial(20, 0.1, 90) / 20)
    again = Dispersion.load(json.loads(json.dumps(dispersion.dump())))
    for one in (dispersion, again):
        one.add(3.0, 20, is_suspicious=False)
    assert again == dispersion
