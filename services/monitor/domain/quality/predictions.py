"""What was answered, as far as it takes to judge it once the right answer is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.blocks import STABLE

NO_CLASS = -1


@dataclass(slots=True)
class Predictions:
    """What one span tells: answers to so many rows, all of one version, of about one second.

    ``keys`` are those of requests' rows (``services.common.request_keys``) as signed integers. A class is
    :data:`NO_CLASS`, and a confidence or value NaN, where there is none. ``probabilities`` are [rows, classes], of no
    classes where these are many.
    """

    model: str
    version: str
    end_ns: int
    keys: NDArray[np.int64]
    classes: NDArray[np.int32]
    confidence: NDArray[np.float32]
    values: NDArray[np.float64]
    probabilities: NDArray[np.float16]
    arm: str = STABLE


class State(IntEnum):
    """Whether a prediction still waits for its label."""

    OPEN = 0
    LABELLED = 1
    AMBIGUOUS = 2
    """Two requests of this id were answered differently: nobody knows whose a label is."""


class Prediction(NamedTuple):
    """One answer. ``probabilities`` are f16 of all classes, or empty."""

    model: str
    key: int
    version: str
    arm: str
    time_ns: int
    predicted: int
    confidence: float | None
    value: float | None
    probabilities: bytes
    state: State = State.OPEN

    @property
    def is_class(self) -> bool:
        return self.predicted != NO_CLASS

    def is_like(self, other: Prediction) -> bool:
        """Whether both answered the same: a request that was sent again is no second one."""
        if self.predicted != other.predicted:
            return False
        return self.value == other.value or (
            self.value is not None
            and other.value is not None
            and math.isclose(self.value, other.value, rel_tol=1e-3, abs_tol=1e-9)
        )


def rows_of(told: Predictions) -> list[Prediction]:
    """A span's answers, one by one."""
    has_all = told.probabilities.shape[1] > 0
    return [
        Prediction(
            told.model,
            key,
            told.version,
            told.arm,
            told.end_ns,
            predicted,
            None if math.isnan(confidence) else confidence,
            None if math.isnan(value) else value,
            told.probabilities[row].tobytes() if has_all and predicted != NO_CLASS else b"",
        )
        for row, (key, predicted, confidence, value) in enumerate(
            zip(
                told.keys.tolist(),
                told.classes.tolist(),
                told.confidence.tolist(),
                told.values.tolist(),
                strict=True,
            )
        )
    ]
