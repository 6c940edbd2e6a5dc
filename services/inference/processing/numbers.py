"""Numbers before the model: their type, range and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from services.common.datatypes import DATATYPES, datatype
from services.inference.backends.backend import Array
from services.inference.domain.signature import TensorSpec
from services.inference.processing.operation import StepError, Transformation, check_datatype, float_type, floats, shown


@dataclass(frozen=True, kw_only=True)
class Cast(Transformation):
    """Makes numbers of another data type: fractions are cut off, what doesn't fit wraps round as in numpy."""

    name: ClassVar[str] = "cast"

    datatype: str

    def __post_init__(self) -> None:
        check_datatype(self.datatype, DATATYPES.keys() - {"BYTES"})

    def describe(self, given: TensorSpec) -> TensorSpec:
        return replace(given, datatype=self.datatype)

    def compute(self, array: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            if self.datatype == "BF16":
                return _bfloat16(array.astype(np.float32))
            return array.astype(datatype(self.datatype).dtype)


def _bfloat16(array: Array) -> Array:
    """The upper halves of float32, rounded to the nearest, ties to even; what is no number stays so."""
    bits = array.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(array), bits >> 16 | 0x40, rounded).astype(np.uint16)


@dataclass(frozen=True, kw_only=True)
class Scale(Transformation):
    """Makes ``x * factor + offset``, FP32 unless it was FP64."""

    name: ClassVar[str] = "scale"

    factor: float = 1.0
    offset: float = 0.0

    def describe(self, given: TensorSpec) -> TensorSpec:
        return replace(given, datatype=float_type(given.datatype))

    def compute(self, array: Array) -> Array:
        numbers = floats(array)
        return numbers * numbers.dtype.type(self.factor) + numbers.dtype.type(self.offset)


@dataclass(frozen=True, kw_only=True)
class Normalize(Transformation):
    """Makes ``(x * scale - mean) / std``, FP32 unless it was FP64.

    Of a list there is one number for each channel, which ``axis`` counts: the last in NHWC, 1 in NCHW.
    """

    name: ClassVar[str] = "normalize"

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1.0
    axis: int = -1

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or not all(self.std):
            raise ValueError(
                f"got mean = {list(self.mean)} and std = {list(self.std)}, expected as many of each, no std of 0"
            )

    def describe(self, given: TensorSpec) -> TensorSpec:
        count, rank = len(self.mean), len(given.shape)
        if not -rank <= self.axis < rank or (count > 1 and given.shape[self.axis] != count):
            raise StepError(f"got {count} means for axis {self.axis} of {shown(given)}, expected one for each channel")
        return replace(given, datatype=float_type(given.datatype))

    def compute(self, array: Array) -> Array:
        numbers = floats(array)
        shape = [1] * numbers.ndim
        shape[self.axis] = len(self.mean)
        mean, std = (np.array(one, numbers.dtype).reshape(shape) for one in (self.mean, self.std))
        return (numbers * numbers.dtype.type(self.scale) - mean) / std


_ORDERS = {"NCHW": (0, 3, 1, 2), "NHWC": (0, 2, 3, 1)}


@dataclass(frozen=True, kw_only=True)
class Layout(Transformation):
    """Puts the channels of images first (NCHW), where they were last, or last (NHWC)."""

    name: ClassVar[str] = "layout"
    is_arithmetic: ClassVar[bool] = False

    to: Literal["NCHW", "NHWC"]

    def describe(self, given: TensorSpec) -> TensorSpec:
        if len(given.shape) != 4:
            raise StepError(f"got input {shown(given)}, expected images: 4 dimensions")
        return replace(given, shape=tuple(given.shape[axis] for axis in self._order), labels=())

    def compute(self, array: Array) -> Array:
        return array.transpose(self._order)

    @property
    def _order(self) -> Sequence[int]:
        return _ORDERS[self.to]


OPERATIONS = (Cast, Scale, Normalize, Layout)
