"""Whether two ways to compute the same outputs gave the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.datatypes import bfloat16_as_floats

Array = NDArray[Any]

TOLERANCES = {"FP64": 1e-6, "FP32": 1e-4, "FP16": 1e-2, "BF16": 5e-2}
"""Largest difference of an element, as a share of itself. A tenth of it, as a share of the output's largest element, is
allowed to each element besides: sums that cancel out leave as much. All other data types must be equal."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far outputs agree.

    ``difference`` says where they don't, empty when they do. ``relative_error`` is the largest difference of an element
    as a share of the output's largest element, ``top_agreement`` the share of rows with the same largest element.
    """

    difference: str = ""
    relative_error: float = 0.0
    top_agreement: float = 1.0

    def __and__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.difference or other.difference,
            max(self.relative_error, other.relative_error),
            min(self.top_agreement, other.top_agreement),
        )


def compare(name: str, datatype: str, got: Array, expected: Array, *, slack: float = 1.0) -> Agreement:
    """Compare one output, in the numpy type of its v2 ``datatype``; ``slack`` widens tolerances."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        given = f"{got.dtype}{list(got.shape)}, the original {expected.dtype}{list(expected.shape)}"
        return Agreement(f"output {name!r} is {given}")
    if datatype not in TOLERANCES:
        is_equal = bool(np.array_equal(got, expected))
        return Agreement("" if is_equal else f"output {name!r} differs")
    return _compare_floats(name, slack * TOLERANCES[datatype], as_floats(got, datatype), as_floats(expected, datatype))


def as_floats(array: Array, datatype: str) -> NDArray[np.float64]:
    """Elements as numbers, of an array in the numpy type of a v2 ``datatype``."""
    return (bfloat16_as_floats(array) if datatype == "BF16" else array).astype(np.float64)


def _compare_floats(name: str, tolerance: float, got: NDArray[np.float64], expected: NDArray[np.float64]) -> Agreement:
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return Agreement(f"output {name!r} is infinite or no number elsewhere", 1.0, 0.0)
    error = np.abs(got[finite] - expected[finite])
    sizes = np.abs(expected[finite])
    scale = float(sizes.max(initial=0.0))
    relative = float(error.max(initial=0.0)) / scale if scale else float(error.any())
    is_within = bool((error <= tolerance * (sizes + scale / 10)).all())
    difference = "" if is_within else f"output {name!r} differs by {relative:.1e} of its largest element"
    return Agreement(difference, min(relative, 1e9), _top_agreement(got, expected))


def _top_agreement(got: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    if expected.ndim < 2 or expected.shape[-1] < 2 or not expected.size:
        return 1.0
    return float((got.argmax(axis=-1) == expected.argmax(axis=-1)).mean())
