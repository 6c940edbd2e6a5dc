"""What a model says of classes, and vectors, made ready for callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from services.common.datatypes import bfloat16_as_floats
from services.inference.backends.backend import Array
from services.inference.backends.errors import RunError
from services.inference.backends.files import ModelFiles
from services.inference.domain.signature import TensorSpec
from services.inference.processing.operation import (
    Bound,
    Operation,
    Scope,
    StepError,
    Transformation,
    float_type,
    floats,
    shown,
)


class _OfLastDimension(Transformation):
    """Works on vectors: the last dimension."""

    def describe(self, given: TensorSpec) -> TensorSpec:
        if len(given.shape) < 2:
            raise StepError(f"got input {shown(given)}, expected 2 dimensions or more")
        return replace(given, datatype=float_type(given.datatype))


@dataclass(frozen=True, kw_only=True)
class Softmax(_OfLastDimension):
    """Makes probabilities of scores of classes that exclude each other."""

    name: ClassVar[str] = "softmax"

    def compute(self, array: Array) -> Array:
        scores = floats(array)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Transformation):
    """Makes a probability of each score for itself."""

    name: ClassVar[str] = "sigmoid"

    def describe(self, given: TensorSpec) -> TensorSpec:
        return replace(given, datatype=float_type(given.datatype))

    def compute(self, array: Array) -> Array:
        scores = floats(array)
        small = np.exp(-np.abs(scores))  # of at most 1, whatever the score
        return np.where(scores >= 0, 1, small) / (1 + small)


@dataclass(frozen=True, kw_only=True)
class L2Normalize(_OfLastDimension):
    """Makes vectors as long as 1."""

    name: ClassVar[str] = "l2_normalize"

    def compute(self, array: Array) -> Array:
        vectors = floats(array)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12).astype(vectors.dtype)


@dataclass(frozen=True, kw_only=True)
class Threshold(Transformation):
    """Says which numbers are ``value`` or more: BOOL."""

    name: ClassVar[str] = "threshold"

    value: float = 0.5

    def describe(self, given: TensorSpec) -> TensorSpec:
        return replace(given, datatype="BOOL")

    def compute(self, array: Array) -> Array:
        return array >= self.value


@dataclass(frozen=True, kw_only=True)
class TopK(Operation):
    """Makes ``label``, the k classes with the largest scores, the largest first, and ``score``, theirs.

    Labels are BYTES where the classes have names, else INT64. Of equals the first class comes first.
    """

    name: ClassVar[str] = "top_k"

    input: str = ""
    k: int = 1
    label: str = "label"
    score: str = "score"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"got k = {self.k}, expected 1 or more")

    def bind(self, scope: Scope, _files: ModelFiles) -> Bound:
        given = scope.named(self.input)
        if given.datatype == "BYTES" or len(given.shape) != 2 or -1 < given.shape[1] < self.k:
            raise StepError(f"got input {shown(given)}, expected numbers [rows, classes], {self.k} classes or more")
        names = np.array([one.encode() for one in given.labels], dtype=object)
        shape, is_bfloat = (given.shape[0], self.k), given.datatype == "BF16"
        made = (
            TensorSpec(self.label, "BYTES" if given.labels else "INT64", shape),
            TensorSpec(self.score, float_type(given.datatype), shape),
        )

        def call(scores: Array) -> Sequence[Array]:
            return self._top(floats(bfloat16_as_floats(scores) if is_bfloat else scores), names)

        return Bound((given.name,), made, call)

    def _top(self, scores: Array, names: Array) -> Sequence[Array]:
        if scores.shape[1] < self.k:
            raise RunError(f"the model gave scores of {scores.shape[1]} classes, expected {self.k} or more")
        top = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        return [names[top] if len(names) else top.astype(np.int64), np.take_along_axis(scores, top, axis=1)]


OPERATIONS = (Softmax, Sigmoid, L2Normalize, Threshold, TopK)
