"""Figures of labels: judgements, means with intervals, ages and slices, and the estimate without labels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.monitor.domain.quality.estimate import LEAST_LABELS, Estimator
from services.monitor.domain.quality.labels import Judgement, Label, UnfitLabelError, judged
from services.monitor.domain.quality.means import Mean
from services.monitor.domain.quality.predictions import NO_CLASS, Prediction, State
from services.monitor.domain.quality.tally import MAX_METRICS, MAX_SLICES, OTHER_SLICE, Cell, Tally, age_of

NAMES = ("cat", "dog", "hen")


def prediction(
    predicted: int = 1, *, value: float | None = None, shares: tuple[float, ...] = (0.2, 0.5, 0.3)
) -> Prediction:
    packed = np.array(shares, "<f2").tobytes()
    return Prediction("m", 1, "7", "stable", 0, predicted, 0.5, value, packed, State.OPEN)


def label(**truth: object) -> Label:
    return Label("m", 1, 0, **truth)  # type: ignore[arg-type]


def test_a_class_is_right_or_wrong_by_number_or_name() -> None:
    assert judged(prediction(), label(class_index=1), ()).figures["accuracy"] == 1
    assert judged(prediction(), label(class_name="dog"), NAMES).loss == 0
    wrong = judged(prediction(), label(class_name="cat"), NAMES)
    assert (wrong.loss, wrong.is_class) == (1, True)
    assert wrong.figures["log_loss"] == pytest.approx(-math.log(0.2), rel=1e-3)


def test_a_truth_that_was_held_impossible_costs_much_and_not_infinitely_much() -> None:
    assert judged(prediction(shares=(0, 1, 0)), label(class_index=0), ()).figures["log_loss"] == pytest.approx(
        16.6, abs=0.1
    )


def test_a_number_is_off_by_so_much() -> None:
    found = judged(prediction(NO_CLASS, value=2.0, shares=()), label(number=3.5), ())
    assert (found.loss, found.is_class, dict(found.figures)) == (1.5, False, {"mae": 1.5})


def test_metrics_alone_are_no_truth() -> None:
    found = judged(prediction(), label(metrics={"bleu": 0.4}), ())
    assert (found.loss, dict(found.figures)) == (None, {"bleu": 0.4})


@pytest.mark.parametrize(
    ("answer", "truth", "reason"),
    [
        (prediction(), {"number": 1.0}, "answered a class"),
        (prediction(NO_CLASS, value=1.0), {"class_index": 1}, "no probabilities"),
        (prediction(), {"class_index": 3}, "expected 0 to 2"),
        (prediction(), {"class_index": -1}, "expected 0 to 2"),
        (prediction(), {"class_name": "cow"}, "expected one of cat, dog, hen"),
    ],
    ids=["number of a class", "class of a number", "too great", "negative", "no such name"],
)
def test_what_is_no_label_of_the_answer_is_refused(answer: Prediction, truth: dict[str, object], reason: str) -> None:
    with pytest.raises(UnfitLabelError, match=reason):
        judged(answer, label(**truth), NAMES)


def test_a_name_where_classes_have_none_is_refused() -> None:
    with pytest.raises(UnfitLabelError, match="no names of classes"):
        judged(prediction(), label(class_name="cat"), ())


@pytest.mark.parametrize("is_share", [True, False])
def test_intervals_hold_at_all_times(is_share: bool) -> None:
    """At 95 %, from some dozens of labels on; one that is looked at once only would miss far oftener."""
    misses = 0
    for seed in range(200):
        random, mean = np.random.default_rng(seed), Mean()
        values = (random.random(1_000) < 0.9) if is_share else random.exponential(0.5, 1_000)
        truth = 0.9 if is_share else 0.5
        for number, value in enumerate(values, 1):
            mean.add(float(value))
            if number >= 50 and number % 10 == 0:
                low, high = mean.interval(is_share=is_share)
                if not low <= truth <= high:
                    misses += 1
                    break
    assert misses <= 20


def test_nothing_is_known_of_one_value() -> None:
    mean = Mean()
    mean.add(3.0)
    assert mean.interval(is_share=False) == (-math.inf, math.inf)


def add(
    tally: Tally, right: bool, *, age_s: float = 1, slices: tuple[tuple[str, str], ...] = (), **more: float
) -> None:
    judgement = Judgement(float(not right), is_class=True, figures={"accuracy": float(right), **more})
    tally.add(judgement, age_s=age_s, slices=slices, now_ns=5)


def test_labels_are_told_apart_by_age_and_slice() -> None:
    tally = Tally()
    add(tally, True, slices=(("country", "de"),))
    add(tally, False, age_s=7_200, slices=(("country", "fr"),))

    means = {cell: (mean.count, mean.mean) for cell, mean in tally.means()}

    assert means[Cell("accuracy")] == (2, 0.5)
    assert means[Cell("accuracy", is_recent=True)] == (2, 0.5)
    assert means[Cell("accuracy", age=0)] == (1, 1)
    assert means[Cell("accuracy", age=age_of(7_200))] == (1, 0)
    assert means[Cell("accuracy", slice="country=de")] == (1, 1)
    assert next(iter(tally.means()))[0] == Cell("accuracy")


def test_slices_and_metrics_are_bounded() -> None:
    tally = Tally()
    for number in range(10 * MAX_SLICES):
        add(tally, True, slices=(("user", str(number)),), **{f"metric{number}": 1.0})

    means = {cell: mean.count for cell, mean in tally.means()}

    assert len({cell.slice for cell in means}) == MAX_SLICES + 2
    assert means[Cell("accuracy", slice=OTHER_SLICE)] == 9 * MAX_SLICES
    assert len({cell.metric for cell in means}) == MAX_METRICS


def test_a_tally_survives_being_stored() -> None:
    tally = Tally()
    for number in range(20):
        add(tally, number % 3 > 0, age_s=100.0 * number, slices=(("a", "b"),))

    again = Tally.load(tally.dump())

    assert again.dump() == tally.dump()
    with pytest.raises(ValueError, match="expected the number"):
        Tally.load({"labels": 1, "last_ns": 0, "means": [["accuracy", None, "", -1, 0.5, 0.0]]})


def test_accuracy_is_estimated_from_confidences_that_labels_calibrated() -> None:
    """Answers are right in seven of ten cases though the model says nine; then it is less sure."""
    estimator, random = Estimator(), np.random.default_rng(1)
    for _ in range(1_000):
        estimator.learn(0.9, is_right=bool(random.random() < 0.7))
        estimator.learn(0.6, is_right=bool(random.random() < 0.5))
    estimator.see(np.array([0.9] * 900 + [0.6] * 100, np.float32), second=100)

    found = estimator.estimate(second=110)
    assert found is not None
    assert found.value == pytest.approx(0.9 * 0.7 + 0.1 * 0.5, abs=0.04)
    assert found.low < found.value < found.high
    assert found.predictions == 1_000
    assert estimator.estimate(second=100 + 2 * 3_600) is None

    estimator.see(np.array([0.6] * 9_000, np.float32), second=160)
    less = estimator.estimate(second=170)
    assert less is not None
    assert less.value == pytest.approx(0.5, abs=0.06)


def test_nothing_is_estimated_from_few_labels() -> None:
    estimator = Estimator()
    estimator.see(np.full(1_000, 0.9, np.float32), second=100)
    for _ in range(LEAST_LABELS - 1):
        estimator.learn(0.9, is_right=True)
    assert estimator.estimate(second=101) is None
    estimator.learn(0.9, is_right=True)
    assert estimator.estimate(second=101) is not None
