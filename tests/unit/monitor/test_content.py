"""What is learnt of answers and inputs, and how a shift of labels is told from a fault."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from services.monitor.domain import blame, content
from services.monitor.domain.answers import BINS, CLASSES, COARSE, SCALARS, Answers, answers_of, bins_of, value_of
from services.monitor.domain.blocks import Block
from services.monitor.domain.content import ContentDetectors
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.label_shift import SAME_CONFIDENCE, SURE, AskedFor, ClassInputs, confidence_shift
from services.monitor.domain.learners import MAX_SLOTS, AnswerLearner
from services.monitor.domain.numbers import NumberDetector
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Cause, Severity, Signal
from services.monitor.domain.watches import LEARN_SLOTS, InputWatch, ScalarWatch

BUDGET = Budget(false_alarms_per_week=1, series=200)


@pytest.mark.parametrize("signal", SCALARS)
def test_values_come_back_from_their_bins(signal: Signal) -> None:
    values = np.array([0.02, 0.3, 0.5, 0.9, 0.999] if signal is Signal.CONFIDENCE else [0.1, 1.0, 7.0, 300.0, 9_000.0])
    values = values[:3] if signal is Signal.ENTROPY else values
    again = np.array([value_of(signal, place + 0.5) for place in bins_of(signal, values)])
    spread = values * (1 - values) * 0.06 if signal is Signal.CONFIDENCE else 0.12 * (values + 1)
    assert (np.abs(again - values) <= spread).all()
    assert (np.diff(bins_of(signal, values)) > 0).all()


def test_odd_values_have_bins_too() -> None:
    for signal in SCALARS:
        odd = np.array([np.inf, -np.inf, -1.0, 0.0, 1.0, 2.0, 3e38], np.float32)
        assert ((bins_of(signal, odd) >= 0) & (bins_of(signal, odd) < BINS)).all()


def test_answers_add_up_and_what_is_missing_is_not_counted() -> None:
    confidence = np.array([0.5, np.nan, 0.9], np.float32)
    one = answers_of({Signal.CONFIDENCE: confidence}, np.array([3, -1, 3 + CLASSES], np.int32), 1)
    total = Answers()
    for part in (one, one):
        total.add(part)
    assert total.classes is not None
    assert total.class_confidence is not None
    assert (total.scalars[Signal.CONFIDENCE].sum(), total.classes[3], total.nonfinite) == (4, 4, 2)
    assert total.class_confidence[3].sum() == 4
    assert one.scalars[Signal.CONFIDENCE].sum() == 2, "parts are left as they were"


def by_class(random: np.random.Generator, requests: np.ndarray, *, shift: float | np.ndarray = 0.0) -> np.ndarray:
    """Confidence by class, each with a mean of its own, and a shift if there is one for each."""
    counts = np.zeros((CLASSES, COARSE), np.int64)
    for number, (count, more) in enumerate(zip(requests, np.broadcast_to(shift, len(requests)), strict=True)):
        places = np.clip(random.normal(12 + number + 2 * more, 2, int(count)), 0, COARSE - 1).astype(int)
        counts[number] += np.bincount(places, minlength=COARSE)
    return counts


def test_another_mix_of_classes_is_no_shift_of_confidence_given_the_class() -> None:
    random = np.random.default_rng(1)
    before = by_class(random, np.full(6, 500))
    assert confidence_shift(before, by_class(random, np.array([10, 10, 10, 10, 10, 500]))) < SAME_CONFIDENCE
    assert confidence_shift(before, by_class(random, np.full(6, 50), shift=1.0)) > SAME_CONFIDENCE
    assert confidence_shift(before, by_class(random, np.full(6, 1), shift=0.2)) == 0, "too few to tell"
    opposite = np.array([1.0, -1.0] * 3)
    assert confidence_shift(before, by_class(random, np.full(6, 50), shift=opposite)) == pytest.approx(1.0, rel=0.2)
    unseen = np.roll(by_class(random, np.full(6, 50)), 20, axis=0)
    assert confidence_shift(before, unseen) == math.inf


def apart(random: np.random.Generator, *, shift: float = 0.0, requests: int = 40) -> Answers:
    """Classes of which one is always surer than the other: what moves within them is little of the whole."""
    classes = random.integers(0, 2, requests).astype(np.int32)
    logits = random.normal(4.0 * classes - shift, 0.5)
    return answers_of({Signal.CONFIDENCE: 1 / (1 + np.exp(-logits))}, classes, 0)


def test_confidence_is_watched_among_the_answers_of_its_class() -> None:
    random = np.random.default_rng(4)
    watch = ScalarWatch.learnt(Signal.CONFIDENCE, [apart(random) for _ in range(100)], threshold=18.6)
    of_all, of_class, _, _ = (watch.bits(apart(random, requests=4_000))[1] - 0.5)[-4:]
    assert abs(of_all) < 0.03
    assert abs(of_class) < 0.03
    of_all, of_class, _, _ = (watch.bits(apart(random, shift=0.5, requests=4_000))[1] - 0.5)[-4:]
    assert of_class < 1.5 * of_all < 0

    again = ScalarWatch.load(Signal.CONFIDENCE, json.loads(json.dumps(watch.dump())), threshold=18.6)
    answers = apart(random)
    assert again.bits(answers)[1] == pytest.approx(watch.bits(answers)[1], abs=1e-3)


def asked_and_answered(
    random: np.random.Generator, mix: list[float], *, answered: list[int] | None = None, requests: int = 3_000
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of four features that tell of three classes, and what was answered: their class, or what stands for it."""
    labels = random.choice(3, requests, p=mix)
    rows = (np.eye(3, 4)[labels] + random.normal(size=(requests, 4))).astype(np.float32)
    return rows, np.array(answered or [0, 1, 2], np.int32)[labels]


def shares(classes: np.ndarray) -> np.ndarray:
    return np.bincount(classes, minlength=CLASSES) / len(classes)


def test_inputs_tell_classes_that_were_asked_for_from_those_that_were_made_up() -> None:
    random = np.random.default_rng(3)
    rows, classes = asked_and_answered(random, [0.2, 0.4, 0.4])
    watch = InputWatch.learnt([rows], threshold=18.6)
    known = ClassInputs.learnt(watch.places(rows), classes)
    assert known is not None
    known = ClassInputs.load(json.loads(json.dumps(known.dump())))

    def asked(rows: np.ndarray) -> AskedFor:
        places = watch.places(rows)
        return AskedFor(len(places), places.sum(axis=0))

    asked_for, answers = asked_and_answered(random, [0.5, 0.25, 0.25], requests=100)
    assert known.evidence(shares(answers), asked(asked_for)) > SURE
    as_ever, answers = asked_and_answered(random, [0.2, 0.4, 0.4], answered=[1, 0, 2], requests=200)
    assert known.evidence(shares(answers), asked(as_ever)) < -SURE
    assert known.evidence(shares(classes), asked(rows[:0])) == 0.0
    assert ClassInputs.learnt(watch.places(rows), np.zeros_like(classes)) is None, "one class tells nothing"
    assert ClassInputs.learnt(watch.places(rows), np.full_like(classes, -1)) is None


def second(
    number: int,
    random: np.random.Generator,
    *,
    requests: int = 40,
    width: int = 3,
    shift: float = 0.0,
    inputs: float = 0.0,
    is_constant: bool = False,
) -> Block:
    """``shift`` is of confidence. What is constant: a feature, the size of answers, and how sure many of them are."""
    block = Block("digits", "1", number, np.zeros(len(Outcome), np.int64), executions=requests)
    columns = {Signal.CONFIDENCE: 1 / (1 + np.exp(-random.normal(1 - shift, 1, requests)))}
    classes = random.integers(0, 5, requests).astype(np.int32)
    rows = inputs + random.normal(size=(requests, width))
    if is_constant:
        columns[Signal.CONFIDENCE][: requests // 4] = 1.0
        columns[Signal.NORM] = np.ones(requests)
        rows = np.pad(rows, ((0, 0), (0, 1)))
    block.answers = answers_of(columns, classes, 0)
    block.sketches = [rows.astype(np.float32)] if width else []
    block.sketched_classes = [classes] if width else []
    return block


Found = list[Alarm | Recovery]


def run(detectors: ContentDetectors, seconds: range, random: np.random.Generator, **what: Any) -> Found:
    return [one for number in seconds for one in detectors.judge(second(number, random, **what), may_learn=True)]


def learnt(random: np.random.Generator, **what: Any) -> ContentDetectors:
    detectors = ContentDetectors(BUDGET)
    assert run(detectors, range(LEARN_SLOTS), random, **what) == []
    return detectors


def test_what_is_always_the_same_is_never_an_alarm() -> None:
    random = np.random.default_rng(8)
    detectors = learnt(random, is_constant=True)
    assert run(detectors, range(60, 600), random, requests=200, is_constant=True) == []
    assert dict(detectors.streams())[Signal.NORM] < 0.1
    alarm = run(detectors, range(600, 610), random, requests=200, width=4)[0]
    assert isinstance(alarm, Alarm)
    assert (alarm.signal, alarm.note) == (Signal.INPUTS, "feature 3"), "and yet it is watched"


@pytest.mark.parametrize("saved_s", [60, 80], ids=["before they were said to have changed", "after"])
def test_inputs_that_stay_changed_are_learnt_anew_after_a_restart_too(
    monkeypatch: pytest.MonkeyPatch, saved_s: int
) -> None:
    monkeypatch.setattr(content, "ADOPT_S", 100)
    random = np.random.default_rng(9)
    detectors, again = learnt(random), ContentDetectors(BUDGET)
    run(detectors, range(60, saved_s), random, inputs=2.0)
    again.load(json.loads(json.dumps(detectors.dump())))
    again.adopt_alarm(Signal.INPUTS, second=saved_s)
    assert run(again, range(saved_s, 155), random, inputs=2.0) == []
    assert run(again, range(155, 170), random, inputs=2.0) == [Recovery(Signal.INPUTS, None, is_lost=True)]
    assert (again.watches, again.scalars) == ({}, {})


def test_answers_that_were_wrong_before_inputs_changed_are_not_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "ADOPT_S", 30)
    random = np.random.default_rng(10)
    detectors = learnt(random)
    (wrong,) = run(detectors, range(60, 80), random, shift=2.0)
    (moved,) = run(detectors, range(80, 150), random, shift=2.0, inputs=2.0)
    assert isinstance(wrong, Alarm)
    assert isinstance(moved, Alarm)
    assert (wrong.signal, wrong.cause, wrong.severity) == (Signal.CONFIDENCE, Cause.VERSION, Severity.PAGE)
    assert (moved.signal, moved.cause, moved.severity) == (Signal.INPUTS, Cause.INPUTS, Severity.TICKET)
    assert Signal.CONFIDENCE in detectors.watches


def test_an_alarm_that_waits_outlives_a_restart_and_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "STAYED", -math.inf)
    random = np.random.default_rng(11)
    detectors, number = learnt(random), 60
    while not detectors.dump()["waiting"]:
        assert run(detectors, range(number, number + 1), random, shift=2.0) == []
        number += 1
    restarted, set_back = ContentDetectors(BUDGET), ContentDetectors(BUDGET)
    for one in (restarted, set_back):
        one.load(json.loads(json.dumps(detectors.dump())))
    set_back.clock_was_set_back(second=7)
    for one, seconds in ((restarted, range(number, number + 5)), (set_back, range(8, 18))):
        (told,) = run(one, seconds, random, shift=2.0)
        assert (told.signal, type(told)) == (Signal.CONFIDENCE, Alarm)


def test_what_was_learnt_survives_being_stored() -> None:
    random = np.random.default_rng(2)
    detectors = learnt(random)
    assert set(detectors.watches) == {Signal.CONFIDENCE, Signal.CLASS_MIX, Signal.INPUTS}
    list(detectors.judge(second(LEARN_SLOTS, random, shift=0.3), may_learn=True))
    again = ContentDetectors(BUDGET)
    again.load(json.loads(json.dumps(detectors.dump())))
    assert again.dump() == detectors.dump()
    assert dict(again.streams()) == dict(detectors.streams())


def test_a_store_of_another_make_is_refused() -> None:
    detectors = learnt(np.random.default_rng(3))
    stored = json.loads(json.dumps(detectors.dump()))
    stored["watches"]["inputs"]["edges"] = [[0.0]]
    with pytest.raises(ValueError, match=r"reshape|bits"):
        ContentDetectors(BUDGET).load(stored)


def test_nothing_is_learnt_in_bad_times() -> None:
    random, detectors = np.random.default_rng(4), ContentDetectors(BUDGET)
    for number in range(2 * LEARN_SLOTS):
        list(detectors.judge(second(number, random), may_learn=False))
    assert detectors.watches == {}


def test_without_sketches_answers_are_judged_alone() -> None:
    random = np.random.default_rng(5)
    detectors = learnt(random, width=0)
    assert run(detectors, range(60, 70), random, width=0, shift=2)
    assert Signal.INPUTS not in detectors.watches


def test_a_sketch_of_another_width_is_left_out() -> None:
    random = np.random.default_rng(6)
    detectors = learnt(random)
    assert list(detectors.judge(second(60, random, width=5), may_learn=True)) == []


def test_what_is_kept_while_learning_is_bounded() -> None:
    learner, random = AnswerLearner(), np.random.default_rng(7)
    for number in range(1_000):
        learner.learn(second(number, random, requests=1).answers, 1)
    assert len(learner.slots) <= MAX_SLOTS
    assert sum(slot.scalars[Signal.CONFIDENCE].sum() for slot in learner.slots) > 900


def nonfinite(second: int, count: int, instance: str = "a") -> Block:
    one = Block("digits", "1", second, np.array([1_000, 0, 0]), instance=instance, executions=1)
    one.counts[:, 0] = 1_000
    one.answers.nonfinite = count
    return one


def test_answers_that_are_no_numbers_need_three_requests_and_a_share() -> None:
    detector = NumberDetector()
    detector.add(nonfinite(0, 0))
    detector.add(nonfinite(1, 2))
    assert list(detector.judge(2)) == []
    detector.add(nonfinite(2, 30))
    detector.add(nonfinite(2, 0, "b"))
    (alarm,) = detector.judge(3)
    assert alarm.replica == "a"
    assert list(detector.judge(4)) == []
    detector.add(nonfinite(40, 0))
    (recovery,) = detector.judge(41)
    assert recovery.replica == "a"


def test_few_answers_that_are_no_numbers_add_up_over_two_minutes() -> None:
    detector = NumberDetector()
    for number in range(100):
        detector.add(nonfinite(number, int(number % 40 == 20)))
        assert list(detector.judge(number + 1)) == [], "fewer than three, or one in two thousand"
    again = NumberDetector()
    for number in range(100):
        again.add(nonfinite(number, int(number % 2)))
        if found := list(again.judge(number + 1)):
            break
    assert number < 20
    assert isinstance(found[0], Alarm)
    again.add(nonfinite(100, 0))
    assert list(again.judge(101)) == [], "it may come again"
    again.add(nonfinite(140, 0))
    assert isinstance(next(again.judge(141)), Recovery)


def test_two_minutes_of_a_large_fleet_are_two_minutes() -> None:
    fleet, detector = [str(number) for number in range(64)], NumberDetector()
    found = list[tuple[int, Alarm | Recovery]]()
    for number in range(300):
        for instance in fleet:
            one = nonfinite(number, int(instance == "7" and number in (10, 40, 70)), instance)
            one.counts = one.counts // 1_000
            detector.add(one)
        found += [(number, finding) for finding in detector.judge(number + 1)]
    (_, alarm), (recovered_at, recovery) = found
    assert isinstance(alarm, Alarm)
    assert (alarm.replica, alarm.change_second) == ("7", 10)
    assert (recovered_at, recovery) == (70 + 120, Recovery(Signal.NONFINITE, None, replica="7"))
