"""A version's own first traffic, until there is enough of it to know what is normal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.answers import SCALARS, Answers
from services.monitor.domain.phases import Signal
from services.monitor.domain.watches import LEARN_SLOTS, LEARN_TRIALS

MAX_SLOTS = 128
"""Slots of answers that are kept; then two and two become one."""
MAX_SKETCHES = 8_192
MIN_DISTINCT = 32
"""Inputs of which fewer are different, of thousands, are those of a test: no traffic to learn from."""


@dataclass(slots=True)
class AnswerLearner:
    """Answers of seconds, until there are enough to know what is normal."""

    slots: list[Answers] = field(default_factory=list)
    seconds: int = 0
    trials: int = 0

    @property
    def is_done(self) -> bool:
        return self.seconds >= LEARN_SLOTS and self.trials >= LEARN_TRIALS

    def learn(self, answers: Answers, requests: int) -> None:
        self.seconds += 1
        self.trials += requests
        self.slots.append(answers)
        if len(self.slots) > MAX_SLOTS:
            paired = []
            for one, other in zip(self.slots[::2], self.slots[1::2], strict=False):
                both = Answers()
                both.add(one)
                both.add(other)
                paired.append(both)
            self.slots = paired


@dataclass(slots=True)
class InputLearner:
    """Sketches of seconds, until there are enough; the oldest leave when there are many."""

    slots: list[NDArray[np.float32]] = field(default_factory=list)
    classes: list[NDArray[np.int32]] = field(default_factory=list)
    """What the same requests were answered; -1 where that was no class."""
    seconds: int = 0
    trials: int = 0

    @property
    def is_done(self) -> bool:
        return self.seconds >= LEARN_SLOTS and self.trials >= LEARN_TRIALS

    @property
    def is_diverse(self) -> bool:
        return len(np.unique(np.concatenate(self.slots), axis=0)) >= MIN_DISTINCT

    def learn(self, rows: NDArray[np.float32], classes: NDArray[np.int32]) -> None:
        if self.slots and self.slots[0].shape[1] != rows.shape[1]:
            self.slots, self.classes, self.seconds, self.trials = [], [], 0, 0
        self.seconds += 1
        self.trials += len(rows)
        # The same of every second, so that all of them fit.
        self.slots.append(rows[: MAX_SKETCHES // LEARN_SLOTS])
        self.classes.append(classes[: MAX_SKETCHES // LEARN_SLOTS])
        if len(self.slots) > 8 * LEARN_SLOTS:
            del self.slots[0], self.classes[0]


@dataclass(slots=True)
class ContentLearner:
    """Answers and inputs, as far as a version has them."""

    answers: AnswerLearner = field(default_factory=AnswerLearner)
    inputs: InputLearner = field(default_factory=InputLearner)
    is_asked: bool = False
    """Whether inputs are sketched."""
    is_uniform: bool = False
    """Requests were all alike so far, so that nothing was learnt."""

    def learn(self, answers: Answers, rows: NDArray[np.float32], classes: NDArray[np.int32]) -> bool:
        """Take a second in; True once there is enough to know what is normal."""
        answered = max((int(counts.sum()) for counts in answers.scalars.values()), default=0)
        if answered:
            self.answers.learn(answers, answered)
        if len(rows):
            self.is_asked = True
            self.inputs.learn(rows, classes)
        is_answering = self.answers.seconds > 0 or not self.is_asked
        if (is_answering and not self.answers.is_done) or (self.is_asked and not self.inputs.is_done):
            return False
        self.is_uniform = self.is_asked and not self.inputs.is_diverse
        if self.is_uniform:
            self.restart()
        return not self.is_uniform

    def restart(self) -> None:
        """Forget what was seen."""
        self.answers, self.inputs = AnswerLearner(), InputLearner()

    def progress(self) -> dict[Signal, tuple[int, int]]:
        """Seconds and requests learnt from so far, of what there is to learn."""
        slots = self.answers.slots
        signals = [signal for signal in SCALARS if any(signal in slot.scalars for slot in slots)]
        if any(slot.classes is not None for slot in slots):
            signals.append(Signal.CLASS_MIX)
        asked = {Signal.INPUTS: (self.inputs.seconds, self.inputs.trials)} if self.is_asked else {}
        return dict.fromkeys(signals, (self.answers.seconds, self.answers.trials)) | asked
