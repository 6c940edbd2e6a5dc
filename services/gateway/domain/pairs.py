"""Whether two versions answered one request alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.datatypes import DATATYPES, bfloat16_as_floats


class Tensor(Protocol):
    """An output of ``inference.ModelInferResponse``, or as much of it as matters here."""

    name: str
    datatype: str
    shape: Sequence[int]


class Response(Protocol):
    """``inference.ModelInferResponse`` as model processes write it: all contents are raw."""

    @property
    def outputs(self) -> Sequence[Tensor]: ...

    @property
    def raw_output_contents(self) -> Sequence[bytes]: ...


def are_alike(baseline: Response, candidate: Response, *, tolerance: float) -> bool:
    """Whether the candidate gives what the baseline gives; it may give more outputs.

    Names, datatypes and shapes have to be the same, and all elements but floating-point numbers. Those may differ by
    ``tolerance`` times the largest finite one of the baseline's output. NaN is like NaN, an infinity like itself.
    """
    theirs = {tensor.name: at for at, tensor in enumerate(candidate.outputs)}
    for at, tensor in enumerate(baseline.outputs):
        other = theirs.get(tensor.name)
        if other is None:
            return False
        twin = candidate.outputs[other]
        if tensor.datatype != twin.datatype or list(tensor.shape) != list(twin.shape):
            return False
        one, two = baseline.raw_output_contents[at], candidate.raw_output_contents[other]
        if one != two and not _are_close(tensor.datatype, one, two, tolerance):
            return False
    return True


def _are_close(datatype: str, one: bytes, two: bytes, tolerance: float) -> bool:
    """Whether contents that aren't the same are floating-point numbers that may count as the same."""
    kind = DATATYPES.get(datatype)
    if kind is None or not kind.is_float or len(one) != len(two) or len(one) % kind.itemsize:
        return False
    ours, theirs = _floats(datatype, one), _floats(datatype, two)
    with np.errstate(invalid="ignore", over="ignore"):
        is_same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        is_finite = np.isfinite(ours)
        allowed = tolerance * np.abs(ours, where=is_finite, out=np.zeros_like(ours)).max(initial=0.0)
        return bool((is_same | (is_finite & np.isfinite(theirs) & (np.abs(ours - theirs) <= allowed))).all())


def _floats(datatype: str, raw: bytes) -> NDArray[Any]:
    """Numbers that are exact, and don't overflow when they are subtracted, but for the largest of FP64."""
    values = np.frombuffer(raw, DATATYPES[datatype].dtype)
    return (bfloat16_as_floats(values) if datatype == "BF16" else values).astype(np.float64)
