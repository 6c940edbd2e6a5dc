"""What is normal of a version's answers, and of what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from services.monitor.domain.answers import CLASSES, COARSE, SCALARS, Answers, Numbers
from services.monitor.domain.label_shift import ClassInputs
from services.monitor.domain.learners import ContentLearner
from services.monitor.domain.phases import Signal
from services.monitor.domain.watches import ClassWatch, InputWatch, ScalarWatch, Watch


@dataclass(slots=True)
class Known:
    """What watches them, and histograms as learnt; empty while nothing is known."""

    watches: dict[Signal, Watch] = field(default_factory=dict)
    scalars: dict[Signal, Numbers] = field(default_factory=dict)
    by_class: Numbers | None = None
    """Confidence by class, [CLASSES, COARSE]."""
    class_inputs: ClassInputs | None = None

    @classmethod
    def learnt(cls, learner: ContentLearner, *, threshold: float) -> Self:
        """Of enough traffic; ``threshold`` is that of the watches' evidence, nats."""
        slots, inputs = learner.answers.slots, learner.inputs
        total = Answers()
        for slot in slots:
            total.add(slot)
        known = cls(scalars=total.scalars)
        for signal in SCALARS:
            if signal in total.scalars:
                known.watches[signal] = ScalarWatch.learnt(signal, slots, threshold=threshold)
        if total.classes is not None:
            known.watches[Signal.CLASS_MIX] = ClassWatch.learnt(slots, threshold=threshold)
            known.by_class = total.class_confidence
        if inputs.slots:
            watch = known.watches[Signal.INPUTS] = InputWatch.learnt(inputs.slots, threshold=threshold)
            places, classes = watch.places(np.concatenate(inputs.slots)), np.concatenate(inputs.classes)
            known.class_inputs = ClassInputs.learnt(places, classes)
        return known

    def dump(self) -> dict[str, Any]:
        """What was learnt, and the running evidence, as plain JSON values."""
        return {
            "watches": {signal: watch.dump() for signal, watch in self.watches.items()},
            "by_class": None if self.by_class is None else self.by_class.tolist(),
            "class_inputs": None if self.class_inputs is None else self.class_inputs.dump(),
            "scalars": {signal: counts.tolist() for signal, counts in self.scalars.items()},
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], *, threshold: float) -> Self:
        """The reverse of :meth:`dump`.

        Raises:
            ValueError, KeyError, TypeError: the data are of another make.
        """
        known = cls(scalars={Signal(name): np.array(row, np.int64) for name, row in data["scalars"].items()})
        for name, one in data["watches"].items():
            known.watches[Signal(name)] = _watch(Signal(name), one, threshold=threshold)
        if (by_class := data["by_class"]) is not None:
            known.by_class = np.array(by_class, np.int64).reshape(CLASSES, COARSE)
        if (class_inputs := data["class_inputs"]) is not None:
            known.class_inputs = ClassInputs.load(class_inputs)
        return known


def _watch(signal: Signal, data: Mapping[str, Any], *, threshold: float) -> Watch:
    if signal is Signal.CLASS_MIX:
        return ClassWatch.load(data, threshold=threshold)
    if signal is Signal.INPUTS:
        return InputWatch.load(data, threshold=threshold)
    return ScalarWatch.load(signal, data, threshold=threshold)
