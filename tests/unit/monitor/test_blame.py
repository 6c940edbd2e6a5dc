"""Whose fault it is that answers have changed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.monitor.domain.answers import CLASSES, COARSE, Answers
from services.monitor.domain.blame import (
    MOVED,
    STAYED,
    WAIT_FOR_LABELS_S,
    WAIT_S,
    Witness,
    asked_for,
    cause_of,
    is_confidence_as_before,
)
from services.monitor.domain.label_shift import SURE, AskedFor, ClassInputs
from services.monitor.domain.phases import Cause, Signal

UNSURE = (STAYED + MOVED) / 2


@pytest.mark.parametrize(
    ("witness", "waited_s", "cause"),
    [
        (Witness(MOVED, is_label_shift=False), 0, Cause.INPUTS),
        (Witness(math.inf, is_label_shift=True, asked_for=-2 * SURE), 0, Cause.INPUTS),
        (Witness(0.0, is_label_shift=False), 0, Cause.VERSION),
        (Witness(UNSURE, is_label_shift=False), WAIT_S - 1, None),
        (Witness(UNSURE, is_label_shift=False), WAIT_S, Cause.VERSION),
        (Witness(None, is_label_shift=False), 0, Cause.VERSION),
        (Witness(None, is_label_shift=True), 0, Cause.INPUTS),
        (Witness(0.0, is_label_shift=True, asked_for=SURE), 0, Cause.INPUTS),
        (Witness(0.0, is_label_shift=True, asked_for=-SURE), 0, Cause.VERSION),
        (Witness(0.0, is_label_shift=True, asked_for=SURE / 2), WAIT_FOR_LABELS_S - 1, None),
        (Witness(0.0, is_label_shift=True, asked_for=SURE / 2), WAIT_FOR_LABELS_S, Cause.INPUTS),
        (Witness(0.0, is_label_shift=True, asked_for=-SURE / 2), WAIT_FOR_LABELS_S, Cause.VERSION),
    ],
)
def test_inputs_say_whose_fault_it_is_as_soon_as_they_can(witness: Witness, waited_s: int, cause: Cause | None) -> None:
    assert cause_of(Signal.CONFIDENCE, witness, waited_s=waited_s) is cause
    assert cause_of(Signal.INPUTS, witness, waited_s=waited_s) is Cause.INPUTS


def sure_by_class(place: int) -> np.ndarray:
    counts = np.zeros((CLASSES, COARSE), np.int64)
    counts[:3, place - 1 : place + 2] = 100
    return counts


def test_confidence_is_as_before_only_where_it_is_known() -> None:
    same, other = Answers(class_confidence=sure_by_class(10)), Answers(class_confidence=sure_by_class(20))
    assert is_confidence_as_before(sure_by_class(10), [same, Answers()])
    assert not is_confidence_as_before(sure_by_class(10), [same, other])
    assert not is_confidence_as_before(sure_by_class(10), [Answers()])
    assert not is_confidence_as_before(None, [same])


def test_inputs_say_nothing_of_classes_where_either_is_missing() -> None:
    mix = np.bincount([0, 1, 1], minlength=CLASSES)
    usual = ClassInputs(mix / 3, np.arange(CLASSES)[:, None] * 1.0, np.eye(1))
    answers, asked = Answers(classes=np.bincount([0, 0, 1], minlength=CLASSES)), AskedFor(3, np.array([1.0]))
    assert asked_for(usual, [answers], [asked], spread=1.0) == pytest.approx(1 / 6)
    assert asked_for(usual, [answers], [asked], spread=2.0) == pytest.approx(1 / 12)
    for missing in ((None, [answers], [asked]), (usual, [Answers()], [asked]), (usual, [answers], [])):
        assert asked_for(*missing, spread=1.0) == 0.0
