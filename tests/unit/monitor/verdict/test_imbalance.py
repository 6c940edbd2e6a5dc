"""How much more two versions differ than chance allows, and that what both share is none of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from services.monitor.domain.verdict.imbalance import HELD_BACK, LASTS_S, LEAST_SECONDS, Imbalance

COUNTS = (20.0, 180.0)


def learnt(seconds: Iterator[tuple[float, float]]) -> Imbalance:
    """From the numbers of requests that took long, of so many of either version in each second."""
    imbalance = Imbalance()
    for totals in seconds:
        imbalance.add(totals, COUNTS, is_suspicious=False)
    return imbalance


def shared(seconds: int, *, seed: int = 1) -> Iterator[tuple[float, float]]:
    """A host that now and then slows everything."""
    random = np.random.default_rng(seed)
    for _ in range(seconds):
        share = random.random() if random.random() < 0.2 else 0.02
        yield tuple(float(random.binomial(int(count), share)) for count in COUNTS)


def of_one_host(seconds: int, *, lasts: float = 0.0, seed: int = 2) -> Iterator[tuple[float, float]]:
    """A host that slows the candidate alone, for a while."""
    random, level = np.random.default_rng(seed), 0.0
    for _ in range(seconds):
        level = lasts * level + float(np.sqrt(1 - lasts**2) * random.standard_normal())
        shares = 1 / (1 + np.exp(2 - level)), 1 / (1 + np.exp(2))
        yield tuple(float(random.binomial(int(count), share)) for count, share in zip(COUNTS, shares, strict=True))


def batches_of(size: int, seconds: int) -> Iterator[tuple[float, float]]:
    random = np.random.default_rng(3)
    for _ in range(seconds):
        yield tuple(float(size * random.binomial(int(count / size), 0.3)) for count in COUNTS)


def test_what_a_host_does_to_both_is_chance() -> None:
    imbalance = learnt(shared(400))
    assert imbalance.size(*COUNTS) < 1.8
    assert imbalance.inflation < 2


def test_batches_count_as_one_each() -> None:
    assert 8 < learnt(batches_of(10, 400)).size(*COUNTS) < 18


def test_noise_of_one_host_counts_the_more_the_longer_it_lasts() -> None:
    sizes = [learnt(of_one_host(1_200, lasts=lasts)).size(*COUNTS) for lasts in (0.0, 0.8)]
    assert 1.5 < sizes[0] < sizes[1] / 2
    assert learnt(of_one_host(1_200, lasts=0.8)).inflation > 2


def test_a_lasting_difference_is_no_noise() -> None:
    random = np.random.default_rng(5)
    constant = ((float(random.binomial(20, 0.5)), float(random.binomial(180, 0.2))) for _ in range(400))
    assert learnt(constant).size(*COUNTS) < 3, "of spells of 64 s it would be hundreds"


def test_nothing_is_believed_at_first() -> None:
    imbalance = learnt(shared(LEAST_SECONDS - 1))
    assert imbalance.size(*COUNTS) == pytest.approx(2 * 20 * 180 / 200), "a second of either version is one event"
    assert imbalance.size(0.5, 0.5) == 1.0
    assert imbalance.inflation == LASTS_S
    assert learnt((0.0, 0.0) for _ in range(200)).size(*COUNTS) == pytest.approx(36), "nor where nothing ever happens"


def test_noise_is_taken_to_last_until_it_is_known() -> None:
    early, late = (learnt(of_one_host(seconds)) for seconds in (30, 1_200))
    assert early.inflation > 1.5 * late.inflation


def test_a_change_is_not_taken_for_noise() -> None:
    """The newest seconds are held back, and dropped once there is a suspicion."""
    imbalance = learnt(shared(200))
    before, seconds = imbalance.size(*COUNTS), imbalance.seconds
    for _ in range(HELD_BACK // 2):
        imbalance.add((20.0, 2.0), COUNTS, is_suspicious=False)
    for _ in range(100):
        imbalance.add((20.0, 2.0), COUNTS, is_suspicious=True)
    assert imbalance.size(*COUNTS) == pytest.approx(before, rel=0.2)
    assert imbalance.seconds == seconds + HELD_BACK // 2


def test_it_survives_json() -> None:
    imbalance = learnt(shared(90))
    again = Imbalance.load(json.loads(json.dumps(imbalance.dump())))
    for one in (imbalance, again):
        one.add((3.0, 1.0), COUNTS, is_suspicious=False)
    assert again == imbalance
