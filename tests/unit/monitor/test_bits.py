"""Streams of bits: as rare alarms as declared though observations cluster, and quick ones where rates move."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from services.monitor.domain.bit_reference import STEADY, WAVERING, BitReference, Nature
from services.monitor.domain.bits import BitStream
from services.monitor.domain.evidence import QUARANTINE

SLOTS, TRIALS = 60, 100.0


def clustered(random: np.random.Generator, slots: int, rate: float, cluster: int) -> np.ndarray:
    """Shares of slots in which observations come in clusters that are all alike."""
    clusters = int(TRIALS) // cluster
    return random.binomial(clusters, rate, (slots, 1)) / clusters


def learnt(random: np.random.Generator, rate: float = 0.2, cluster: int = 1) -> BitReference:
    return BitReference.fit(np.full(SLOTS, TRIALS), clustered(random, SLOTS, rate, cluster))


@pytest.mark.parametrize("cluster", [1, 10])
def test_false_alarms_are_no_more_frequent_than_declared(cluster: int) -> None:
    """References are learnt anew each time, from as few slots as they are in life."""
    random, run_length = np.random.default_rng(cluster), 1_000.0
    alarms = slots = 0
    for _ in range(40):
        stream = BitStream(learnt(random, cluster=cluster), threshold=math.log(run_length))
        for second, shares in enumerate(clustered(random, 250, 0.2, cluster)):
            slots += 1
            if stream.observe(second, TRIALS, shares):
                alarms += 1
                stream.is_alarmed = False
                stream.restart()
    assert alarms <= slots / run_length + 3 * math.sqrt(slots / run_length)


@pytest.mark.parametrize(("rate", "within"), [(0.4, 6), (0.9, 2)])
def test_a_rate_that_rises_is_found_soon_and_dated(rate: float, within: int) -> None:
    random = np.random.default_rng(3)
    stream = BitStream(learnt(random), threshold=18.6)
    shares = np.concatenate([clustered(random, 50, 0.2, 1), clustered(random, 20, rate, 1)])
    found = [second for second, share in enumerate(shares) if stream.observe(second, TRIALS, share)]
    assert 50 < found[0] <= 50 + within
    assert abs(stream.change_second - 50) <= 2
    low, high = stream.interval(0, stream.change_second)
    assert low < rate < high


def test_a_single_odd_slot_is_no_alarm() -> None:
    stream = BitStream(learnt(np.random.default_rng(4)), threshold=18.6)
    assert not stream.observe(0, 100 * TRIALS, np.array([1.0]))
    assert stream.observe(1, 100 * TRIALS, np.array([1.0]))


def test_an_alarm_ends_when_rates_are_back() -> None:
    random = np.random.default_rng(5)
    stream = BitStream(learnt(random), threshold=18.6)
    for second in range(3):
        stream.observe(second, TRIALS, np.array([0.9]))
    assert stream.is_alarmed
    stream.restart()
    back = [second for second in range(3, 60) if stream.observe(second, TRIALS, clustered(random, 1, 0.2, 1)[0])]
    assert back
    assert not stream.is_alarmed


def test_what_clusters_counts_for_less() -> None:
    random = np.random.default_rng(6)
    apart, together = learnt(random, cluster=1), learnt(random, cluster=10)
    assert apart.spread[0] < 2.5
    assert 5 < together.spread[0] < 25
    assert together.limits[0] > apart.limits[0] > 0.2


def test_what_never_was_has_a_limit_that_falls_with_what_was_seen() -> None:
    few, many = (BitReference.fit(np.full(n, TRIALS), np.zeros((n, 1))) for n in (10, 100))
    assert 0 < many.limits[0] < few.limits[0] < 0.03


def test_what_is_steady_counts_for_more_than_what_wavers() -> None:
    slots, shares = np.full(SLOTS, TRIALS), clustered(np.random.default_rng(8), SLOTS, 0.2, 1)
    steady, wavering = (BitReference.fit(slots, shares, nature) for nature in (STEADY, WAVERING))
    assert steady.spread[0] < wavering.spread[0]
    assert steady.bet_against(STEADY.tolerated)[0] < wavering.bet_against(WAVERING.tolerated)[0]


@pytest.mark.parametrize(("weight", "is_sooner"), [(9.0, True), (0.1, False)])
def test_more_is_found_sooner_where_more_is_bet(weight: float, *, is_sooner: bool) -> None:
    slots, known = np.full(SLOTS, TRIALS), np.random.default_rng(9).binomial(int(TRIALS), 0.2, (SLOTS, 2)) / TRIALS
    even, other = (
        BitStream.learnt(slots, known, nature, threshold=18.6)
        for nature in (Nature(), Nature(weights=np.array([weight, 1])))
    )
    for stream in (even, other):
        stream.observe(0, TRIALS, np.array([0.4, 0.2]))
    assert (other.log_evalue > even.log_evalue) is is_sooner


def test_evidence_survives_being_stored() -> None:
    random = np.random.default_rng(7)
    stream = BitStream(learnt(random), threshold=18.6)
    for second in range(2):
        stream.observe(second, TRIALS, np.array([0.4]))
    again = BitStream(BitReference.load(json.loads(json.dumps(stream.reference.dump()))), threshold=18.6)
    again.load(json.loads(json.dumps(stream.dump())))
    assert (again.log_evalue, again.change_second) == (stream.log_evalue, stream.change_second)
    assert again.log_evalue > 1
    other = BitStream(BitReference.fit(np.full(9, TRIALS), np.zeros((9, 2))), threshold=18.6)
    other.load(stream.dump())
    assert other.log_evalue == 0.0


@pytest.mark.parametrize("share", [1.0, 0.9995])
def test_what_is_always_so_is_no_evidence_however_often_it_is_seen(share: float) -> None:
    shares = np.array([share, 1 - share])
    stream = BitStream.learnt(np.full(SLOTS, TRIALS), np.tile(shares, (SLOTS, 1)), threshold=18.6)
    for second in range(1_000):
        stream.observe(second, 1_000.0, shares)
    assert stream.log_evalue < 0.1


@pytest.mark.parametrize(("rate", "is_learnt"), [(0.2, True), (0.3, False)])
def test_what_is_suspicious_is_not_learnt(rate: float, *, is_learnt: bool) -> None:
    random = np.random.default_rng(10)
    stream = BitStream.learnt(np.full(SLOTS, TRIALS), clustered(random, SLOTS, 0.2, 1), threshold=1e9)
    before = stream.reference
    for second, shares in enumerate(clustered(random, 2 * SLOTS + QUARANTINE, rate, 1)):
        stream.observe(second, TRIALS, shares)
    assert (stream.reference is not before) is is_learnt


def test_learning_goes_on_after_a_restart_and_ends() -> None:
    random = np.random.default_rng(11)
    stream = BitStream.learnt(np.full(SLOTS, TRIALS), clustered(random, SLOTS, 0.2, 1), threshold=18.6)
    fitted = [SLOTS]
    for second, shares in enumerate(clustered(random, 900, 0.2, 1)):
        if second in (0, 200):
            stream = BitStream.restored(json.loads(json.dumps(stream.dump())), bits=1, threshold=18.6)
        stream.observe(second, TRIALS, shares)
        fitted.append(stream.dump()["fitted"])
    assert sorted(set(fitted)) == [0, SLOTS, 2 * SLOTS, 4 * SLOTS]
    assert fitted[-1] == 0
    with pytest.raises(ValueError, match="has 1 bits, expected 2"):
        BitStream.restored(stream.dump(), bits=2, threshold=18.6)
