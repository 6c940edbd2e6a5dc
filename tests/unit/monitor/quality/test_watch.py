"""Lost accuracy is found in a number of labels that comes near the least possible, and chance is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.quality.labels import Judgement
from services.monitor.domain.quality.lots import LOT_LABELS, MOST_LEARNT, LotStream
from services.monitor.domain.quality.watch import AccuracyWatch

FLOOR = 790
"""Labels that it takes at least to find 90 % where it was 95 % (docs/adr/0032)."""
_THRESHOLD = Budget(1.0, 200).threshold


def feed(
    watch: AccuracyWatch, losses: np.ndarray, *, age_s: float = 5.0, begin_ns: int = 10**18
) -> list[tuple[int, Alarm | Recovery]]:
    found: list[tuple[int, Alarm | Recovery]] = []
    for number, loss in enumerate(losses):
        watch.add(Judgement(float(loss), is_class=True, figures={}), answered_ns=begin_ns + number * 10**9, age_s=age_s)
        found += [(number + 1, one) for one in watch.findings()]
    return found


def test_95_to_90_percent_is_found_within_twice_the_floor_once_it_has_learnt() -> None:
    delays = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        reference = random.binomial(LOT_LABELS, 0.05, (MOST_LEARNT, 1)).astype(np.float64)
        stream = LotStream(reference, threshold=_THRESHOLD, is_learning=False)
        for lot in range(200):
            if stream.observe(random.binomial(LOT_LABELS, 0.10, 1).astype(np.float64)):
                delays.append((lot + 1) * LOT_LABELS)
                break

    assert len(delays) == 40
    assert np.mean(delays) <= 2 * FLOOR
    assert np.median(delays) <= 2 * FLOOR


def test_what_stays_as_it_was_raises_no_alarm() -> None:
    for seed in range(10):
        watch = AccuracyWatch(Budget(1.0, 200))
        assert feed(watch, np.random.default_rng(seed).random(20_000) < 0.05) == []


def test_false_alarms_come_no_oftener_than_the_threshold_says() -> None:
    lots, needed, runs = 100, math.log(2_000), 100
    false_alarms = 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        stream = LotStream(random.binomial(LOT_LABELS, 0.1, (40, 1)).astype(np.float64), threshold=needed)
        false_alarms += any(stream.observe(random.binomial(LOT_LABELS, 0.1, 1).astype(np.float64)) for _ in range(lots))

    # Within T lots with probability T / A at most: 5 of 100 runs, and hardly ever more than 11 by chance.
    assert false_alarms <= 11


def test_an_alarm_says_since_when_and_what_it_was_and_goes_when_labels_are_right_again() -> None:
    watch, random = AccuracyWatch(Budget(1.0, 200)), np.random.default_rng(1)
    assert feed(watch, random.random(2_000) < 0.05) == []

    ((_, alarm),) = feed(watch, random.random(400) < 0.9, begin_ns=2 * 10**18)
    assert isinstance(alarm, Alarm)
    assert alarm.before[0] == pytest.approx(0.05, abs=0.02)
    assert alarm.after[0] == pytest.approx(0.9, abs=0.1)
    assert 0 <= alarm.change_second - 2 * 10**9 <= 100
    assert alarm.interval is not None
    assert alarm.interval[0] < 0.9 < alarm.interval[1]

    ((_, recovery),) = feed(watch, random.random(2_500) < 0.05, begin_ns=3 * 10**18)
    assert isinstance(recovery, Recovery)


def test_late_labels_of_another_kind_are_no_loss_of_accuracy() -> None:
    watch, random = AccuracyWatch(Budget(1.0, 200)), np.random.default_rng(1)
    feed(watch, random.random(3_000) < 0.02, age_s=5)

    assert feed(watch, random.random(3_000) < 0.3, age_s=7_200) == []
    assert feed(watch, random.random(1_000) < 0.02, age_s=5) == []


def test_numbers_that_are_off_by_more_than_they_used_to_be_are_found() -> None:
    watch, random = AccuracyWatch(Budget(1.0, 200)), np.random.default_rng(1)
    assert feed(watch, np.abs(random.normal(0, 1, 4_000))) == []

    ((labels, alarm),) = feed(watch, np.abs(random.normal(0, 2, 2_000)))
    assert isinstance(alarm, Alarm)
    assert labels <= 600


def test_what_was_learnt_survives_being_stored() -> None:
    budget, random = Budget(1.0, 200), np.random.default_rng(1)
    watch = AccuracyWatch(budget)
    feed(watch, random.random(3_030) < 0.05)
    feed(watch, random.random(70) < 0.3)

    again = AccuracyWatch.load(watch.dump(), budget=budget)

    assert again.log_evalue == watch.log_evalue
    ((_, alarm),) = feed(again, random.random(400) < 0.9)
    assert isinstance(alarm, Alarm)
    again = AccuracyWatch.load(again.dump(), budget=budget)
    assert again.is_alarmed


def test_what_another_make_stored_is_refused() -> None:
    watch = AccuracyWatch(Budget(1.0, 200))
    feed(watch, np.random.default_rng(1).random(2_000) < 0.05)
    stored = watch.dump()
    stored["ages"]["0"]["reference"] = [[1.0, 2.0]]

    with pytest.raises(ValueError, match="expected lots of 1 shares"):
        AccuracyWatch.load(stored, budget=Budget(1.0, 200))
