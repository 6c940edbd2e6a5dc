"""What answers look like, as histograms that add up: confidence, entropy, norm, length, classes, and what isn't finite.

Each scalar has a scale of its own on which equal steps are about equally telling: confidence its logit, all others the
logarithm. Classes beyond ``CLASSES`` share places with others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.phases import Signal

Numbers = NDArray[np.int32] | NDArray[np.int64]

BINS = 256
CLASSES = 64
COARSE = 32
"""Bins of confidence by class: 8 of the fine ones each."""
_FINE = BINS // COARSE

SCALARS = (Signal.CONFIDENCE, Signal.ENTROPY, Signal.NORM, Signal.LENGTH)
_RANGES: Mapping[Signal, tuple[float, float]] = {
    Signal.CONFIDENCE: (-8.0, 16.0),
    Signal.ENTROPY: (-20.0, 4.0),
    Signal.NORM: (-10.0, 22.0),
    Signal.LENGTH: (0.0, 32.0),
}
"""Of the scale, by scalar: a logit, else log2."""


def bins_of(signal: Signal, values: NDArray[np.generic]) -> NDArray[np.int64]:
    """The bin of each value, none of which is NaN."""
    low, high = _RANGES[signal]
    given = values.astype(np.float64)
    with np.errstate(all="ignore"):
        if signal is Signal.CONFIDENCE:
            bounded = np.clip(given, 1e-9, 1 - 1e-8)
            scaled = np.log(bounded / (1 - bounded))
        else:
            scaled = np.log2(np.maximum(given + (1.0 if signal is Signal.LENGTH else 1e-7), 1e-300))
    places = (scaled - low) * (BINS / (high - low))
    return np.clip(np.nan_to_num(places, nan=0.0), 0, BINS - 1).astype(np.int64)


def value_of(signal: Signal, place: float) -> float:
    """The value at a place of the scale, in bins."""
    low, high = _RANGES[signal]
    scaled = low + place * (high - low) / BINS
    if signal is Signal.CONFIDENCE:
        return float(1 / (1 + np.exp(-scaled)))
    return float(max(0.0, 2.0**scaled - (1.0 if signal is Signal.LENGTH else 1e-7)))


def quantile(signal: Signal, counts: NDArray[np.generic], level: float) -> float:
    """The value at or below which a share ``level`` lies; NaN of nothing."""
    cumulative = np.cumsum(counts, dtype=np.float64)
    if not len(cumulative) or cumulative[-1] <= 0:
        return float("nan")
    return value_of(signal, int(np.searchsorted(cumulative, level * cumulative[-1] * (1 - 1e-12))) + 0.5)


@dataclass(slots=True)
class Answers:
    """Answers of one second, or of any other number of them; ``add`` sums two up."""

    scalars: dict[Signal, Numbers] = field(default_factory=dict)
    """Histograms of :data:`BINS`, of the scalars that there are."""
    classes: Numbers | None = None
    class_confidence: Numbers | None = None
    """Confidence by class, [CLASSES, COARSE]."""
    nonfinite: int = 0
    """Requests with NaN or infinity in their answer."""

    def add(self, other: Answers) -> None:
        for signal, counts in other.scalars.items():
            self.scalars[signal] = self.scalars[signal] + counts if signal in self.scalars else counts
        self.classes = _sum(self.classes, other.classes)
        self.class_confidence = _sum(self.class_confidence, other.class_confidence)
        self.nonfinite += other.nonfinite


def _sum(one: Numbers | None, other: Numbers | None) -> Numbers | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def answers_of(columns: Mapping[Signal, NDArray[np.generic]], classes: NDArray[np.int32], nonfinite: int) -> Answers:
    """Of the scalars of some requests; ``classes`` is empty, or has -1 where there is none, as scalars have NaN."""
    answers = Answers(nonfinite=nonfinite)
    places: dict[Signal, NDArray[np.int64]] = {}
    for signal, values in columns.items():
        is_there = values == values  # noqa: PLR0124 - what is no number isn't
        known = values if is_there.all() else values[is_there]
        places[signal] = bins_of(signal, known)
        if len(known):
            answers.scalars[signal] = np.bincount(places[signal], minlength=BINS).astype(np.int32)
    is_class = classes >= 0
    if is_class.any():
        found = classes[is_class] % CLASSES
        answers.classes = np.bincount(found, minlength=CLASSES).astype(np.int32)
        confidence = places.get(Signal.CONFIDENCE)
        if confidence is not None and len(confidence) == len(found):
            joint = np.bincount(found * COARSE + confidence // _FINE, minlength=CLASSES * COARSE)
            answers.class_confidence = joint.reshape(CLASSES, COARSE).astype(np.int32)
    return answers
