"""Labels, and what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from services.monitor.domain.quality.predictions import Prediction

LEAST_PROBABILITY = 6e-8
"""The least that f16 can hold: a log loss is 16.6 nats at most."""


class LabelOutcome(IntEnum):
    """What became of a label; the numbers are the API's."""

    JOINED = 1
    PENDING = 2
    UNKNOWN = 3
    DUPLICATE = 4
    REFUSED = 5

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Label:
    """What the right answer to one row of a request was: a class' number or name, or a number; None for none of these.

    ``time_ns`` is when that became known.
    """

    model: str
    key: int
    time_ns: int
    class_index: int | None = None
    class_name: str | None = None
    number: float | None = None
    slices: tuple[tuple[str, str], ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_truth(self) -> bool:
        return self.class_index is not None or self.class_name is not None or self.number is not None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a label says of an answer. ``loss`` is what is watched: 1 of a wrong class, or how far a number is off;
    None where the label has metrics only. ``figures`` are by metric.
    """

    loss: float | None
    is_class: bool
    figures: Mapping[str, float]


class UnfitLabelError(ValueError):
    """A label that can't be one of this answer; the message says why."""


def judged(prediction: Prediction, label: Label, class_names: Sequence[str]) -> Judgement:
    """Compare an answer with the truth.

    Raises:
        UnfitLabelError: they can't be compared.
    """
    if not label.has_truth:
        return Judgement(None, is_class=False, figures=dict(label.metrics))
    if label.number is not None:
        if prediction.value is None:
            got = "a class" if prediction.is_class else "no number that is known"
            raise UnfitLabelError(f"got the number {label.number:g}, but version {prediction.version} answered {got}")
        error = abs(prediction.value - label.number)
        return Judgement(error, is_class=False, figures={"mae": error, **label.metrics})
    truth = _class_of(prediction, label, class_names)
    is_right = prediction.predicted == truth
    figures = {"accuracy": float(is_right), **label.metrics}
    if (log_loss := _log_loss(prediction, truth)) is not None:
        figures["log_loss"] = log_loss
    return Judgement(float(not is_right), is_class=True, figures=figures)


def _class_of(prediction: Prediction, label: Label, class_names: Sequence[str]) -> int:
    if not prediction.is_class:
        raise UnfitLabelError(
            f"got a class, but version {prediction.version} answered no probabilities that a class could be read from"
        )
    if label.class_name is not None:
        if not class_names:
            raise UnfitLabelError(
                f"got class {label.class_name[:80]!r}, but no names of classes of version {prediction.version} are "
                "known: expected class_index"
            )
        if label.class_name not in class_names:
            shown = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
            raise UnfitLabelError(f"got class {label.class_name[:80]!r}, expected one of {shown}")
        return class_names.index(label.class_name)
    index, known = label.class_index or 0, len(prediction.probabilities) // 2
    if index < 0 or (known and index >= known):
        raise UnfitLabelError(f"got class_index {index}, expected 0 to {known - 1 if known else 'the last class'}")
    return index


def _log_loss(prediction: Prediction, truth: int) -> float | None:
    """None where it isn't known how probable the truth was held to be."""
    if not prediction.probabilities:
        return None
    probability = float(np.frombuffer(prediction.probabilities, "<f2")[truth])
    return -math.log(min(1.0, max(probability, LEAST_PROBABILITY)))
