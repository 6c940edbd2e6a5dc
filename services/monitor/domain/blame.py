"""Whose fault it is that answers have changed: the version's, or theirs who ask it for something else.

Where inputs have moved, answers follow them; where only answers have, it is the version's. ``label_shift.py`` tells
what another mix of classes means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.monitor.domain.answers import Answers, Numbers
from services.monitor.domain.label_shift import SAME_CONFIDENCE, SURE, AskedFor, ClassInputs, confidence_shift, joined
from services.monitor.domain.phases import Cause, Signal

MOVED = math.log(100)
"""Evidence from which on inputs are said to have moved along with answers."""
STAYED, WAIT_S = 1.0, 2
"""Seconds that an alarm on answers waits for what inputs say, unless their evidence is still below the first."""
WAIT_FOR_LABELS_S = 15
"""The same where classes have moved and nothing else, until inputs say whether they were asked for."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What speaks for a version, or against it. Evidence in nats.

    ``inputs``: that they have moved, infinite while they are in alarm; None where there are none to watch.
    ``is_label_shift``: classes have moved, and confidence given the class hasn't. ``asked_for``: by inputs, that the
    classes that came were asked for.
    """

    inputs: float | None
    is_label_shift: bool
    asked_for: float = 0.0


def cause_of(signal: Signal, witness: Witness, *, waited_s: int) -> Cause | None:
    """Whose fault an alarm is; None where that isn't known yet."""
    inputs = witness.inputs
    if signal is Signal.INPUTS or (inputs is not None and inputs >= MOVED):
        return Cause.INPUTS
    if inputs is None:
        return Cause.INPUTS if witness.is_label_shift else Cause.VERSION
    if not witness.is_label_shift:
        return Cause.VERSION if inputs < STAYED or waited_s >= WAIT_S else None
    if abs(witness.asked_for) < SURE and waited_s < WAIT_FOR_LABELS_S:
        return None
    return Cause.INPUTS if witness.asked_for > 0 else Cause.VERSION


def is_confidence_as_before(usual: Numbers | None, since: Sequence[Answers]) -> bool:
    """Whether it is, given the class; not where either isn't known. ``usual`` is a histogram by class."""
    found = [one.class_confidence for one in since if one.class_confidence is not None]
    if usual is None or not found:
        return False
    return confidence_shift(usual, np.sum(found, axis=0)) < SAME_CONFIDENCE


def asked_for(
    usual: ClassInputs | None, since: Sequence[Answers], asked: Sequence[AskedFor], *, spread: float
) -> float:
    """Evidence from inputs that the classes that came were asked for, nats.

    ``spread``: how many requests are worth an independent one.
    """
    classes = [one.classes for one in since if one.classes is not None]
    if usual is None or not classes or not asked:
        return 0.0
    counts = np.sum(classes, axis=0)
    return usual.evidence(counts / counts.sum(), joined(asked)) / spread
