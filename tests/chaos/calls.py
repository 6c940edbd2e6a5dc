"""One request of the load: what it carries, and what became of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

POISON = -(2.0**31)
"""The first number of a row that kills the process which runs it: see :func:`tests.chaos.models.breakable_onnx`."""
_LOW = 2**12
_MODULUS = 2**20


class Verdict(StrEnum):
    """What became of a request; refused ones have a status besides."""

    OPEN = "open"
    RIGHT = "right"
    WRONG = "wrong"
    DUPLICATE = "duplicate"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(slots=True)
class Call:
    """Times are seconds of the load's clock."""

    number: int
    front: str
    sent: float
    ended: float | None = None
    verdict: Verdict = Verdict.OPEN
    status: str = ""
    detail: str = ""

    @property
    def seconds(self) -> float:
        """From the first byte to the outcome; 0 while there is none."""
        return 0.0 if self.ended is None else self.ended - self.sent


def question(number: int, width: int) -> NDArray[np.float32]:
    """The row that request ``number``, below 2³², carries: float32 [1, width ≥ 2]; no other number has it."""
    row = (np.arange(width, dtype=np.int64) * 40_503 + number * 7_919) % _MODULUS
    row[0], row[1] = number % _LOW + 1, number // _LOW
    return row.astype(np.float32)[np.newaxis]


def judge(number: int, answer: NDArray[np.float32], answered: Collection[int]) -> Verdict:
    """Whether an answer belongs to request ``number``; DUPLICATE: to one that had its answer before."""
    if answer.ndim == 2 and answer.shape[1] >= 2 and np.array_equal(answer, question(number, answer.shape[1])):
        return Verdict.RIGHT
    numbers: list[float] = [*answer.ravel()[:2].tolist(), 0.0, 0.0]
    low, high = numbers[:2]
    other = int(low) - 1 + int(high) * _LOW if np.isfinite([low, high]).all() else -1
    return Verdict.DUPLICATE if other != number and other in answered else Verdict.WRONG
