"""Sketches of what some of the requests ask: few numbers that tell how inputs are spread.

Of a small table the sketch is the first row as it is, with all that the caller said in it. Of anything larger it is the
mean, the standard deviation and random projections of at most 256 elements (Failing Loudly, arXiv 1810.11953: shifts
show in few projections as well).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.common.datatypes import Datatype, bfloat16_as_floats, datatype
from services.inference.backends import Array
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.sketching import SketchInputs
from services.inference.model_process.tensors import Tensors
from services.inference.model_process.worker import Request

FEATURES, PROJECTIONS = "features", "projections"

MOST_PER_SECOND = 256
_MOST_FEATURES = 32
_MOST_ELEMENTS = 256
_DIRECTIONS = 14
_SIGNS: NDArray[np.float32] = np.random.default_rng(20_171).choice(
    np.array([-1, 1], np.float32), (_MOST_ELEMENTS, _DIRECTIONS)
)
"""The same in all processes and versions, so that their sketches compare."""

_MOST_PLANS = 1_024

Shapes = tuple[tuple[int, ...], ...]
Sample = tuple[int, Shapes, list[bytes]]
"""A request's number, the shapes of its inputs, and the bytes of what is taken of them."""


class _Taken(NamedTuple):
    """What is taken of an input: its place and name in the request, elements of the first row, and every so manieth."""

    place: int
    name: str
    size: int
    stride: int
    size_bytes: int
    kind: Datatype


class InputSketcher:
    """Chooses requests, ``MOST_PER_SECOND`` at most, and sketches the first row of each.

    Which requests: every so manieth, as the second before says, so that they are spread over the second. Choosing is
    cheap; :meth:`rows` is for many at once. ``is_on`` if any are made.
    """

    def __init__(self, signature: Signature, *, wanted: SketchInputs = "all") -> None:
        first = 1 if signature.is_batchable else 0
        kinds = {spec.name: datatype(spec.datatype) for spec in signature.inputs}
        self._numeric = {name: kind for name, kind in kinds.items() if kind.dtype.kind in "biuf"}
        sizes = [_size(spec, first) for spec in signature.inputs if spec.name in self._numeric]
        self.kind = FEATURES if sizes and 0 < sum(sizes) <= _MOST_FEATURES and min(sizes) > 0 else PROJECTIONS
        self._width = sum(sizes) if self.kind == FEATURES else 2 + _DIRECTIONS
        self._names = tuple(spec.name for spec in signature.inputs)
        self._most = max(1, _MOST_ELEMENTS // max(1, len(sizes)))
        self._least = 1 if wanted == "all" else _MOST_FEATURES + 1
        self.is_on = bool(sizes) and wanted != "off" and (self.kind == PROJECTIONS or wanted == "all")
        self._is_batchable = signature.is_batchable
        self._plans: dict[Shapes, list[_Taken]] = {}
        self._second = 0
        self._seen = self._taken = 0
        self._stride = 1

    def choose(self, requests: Sequence[Request], *, now_ns: int, first: int = 0) -> list[Sample]:
        """Samples of some of these requests, the first of which has the number ``first``."""
        if not self.is_on:
            return []
        second = now_ns // 1_000_000_000
        if second != self._second:
            # An odd number, so that clients that take turns by twos all get theirs.
            self._stride = -(-self._seen // MOST_PER_SECOND) | 1
            self._second, self._seen, self._taken = second, 0, 0
        chosen = range(-self._seen % self._stride, len(requests), self._stride)[: MOST_PER_SECOND - self._taken]
        self._seen += len(requests)
        self._taken += len(chosen)
        samples = []
        for at in chosen:
            request = requests[at].tensors
            shapes = request.form.shapes
            plan = self._plans.get(shapes)
            if plan is None:
                plan = self._learn(shapes)
            if plan:
                samples.append((first + at, shapes, _contents(request, plan)))
        return samples

    def _learn(self, shapes: Shapes) -> list[_Taken]:
        """What is taken of requests of such shapes; nothing where a row has too few elements."""
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        plan = list(self._taken_of(shapes))
        if sum(one.size for one in plan) < self._least:
            plan = []
        self._plans[shapes] = plan
        return plan

    def _taken_of(self, shapes: Shapes) -> Iterator[_Taken]:
        for place, (name, shape) in enumerate(zip(self._names, shapes, strict=True)):
            kind = self._numeric.get(name)
            if kind is not None:
                size = math.prod((min(1, shape[0]), *shape[1:]) if self._is_batchable else shape)
                stride = 1 if self.kind == FEATURES else max(1, -(-size // self._most))
                yield _Taken(place, name, size, stride, size * kind.itemsize, kind)

    def rows(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """The sketches, in the order of the samples."""
        alike: dict[Shapes, list[int]] = {}
        for at, (_, shapes, _) in enumerate(samples):
            alike.setdefault(shapes, []).append(at)
        sketches = np.empty((len(samples), self._width), "<f4")
        with np.errstate(all="ignore"):  # inputs may be anything
            for shapes, places in alike.items():
                plan = self._plans.get(shapes) or self._learn(shapes)
                taken = _joined(plan, [samples[at] for at in places])
                sketches[places] = taken if self.kind == FEATURES else _projected(taken)
        return sketches


def _size(spec: TensorSpec, first: int) -> int:
    """Elements of a row; 0 where it isn't known."""
    shape = spec.shape[first:]
    return math.prod(shape) if all(size > 0 for size in shape) else 0


def _contents(request: Tensors, plan: Sequence[_Taken]) -> list[bytes]:
    """The bytes of what is taken of a request."""
    raw, contents = request.raw, []
    for place, name, size, stride, size_bytes, kind in plan:
        if raw is None:
            contents.append(np.ravel(request.inputs[name])[:size:stride].tobytes())
        elif stride == 1:
            contents.append(bytes(raw[place][:size_bytes]))
        else:
            contents.append(np.frombuffer(raw[place], kind.dtype, size)[::stride].tobytes())
    return contents


def _joined(plan: Sequence[_Taken], samples: Sequence[Sample]) -> NDArray[np.float32]:
    """What was taken of requests of the same shapes, as [requests, elements]."""
    parts = []
    for at, one in enumerate(plan):
        taken = b"".join([contents[at] for _, _, contents in samples])
        parts.append(_numbers(np.frombuffer(taken, one.kind.dtype).reshape(len(samples), -1), one.kind))
    return np.concatenate(parts, axis=1)[:, :_MOST_ELEMENTS]


def _numbers(elements: Array, kind: Datatype) -> NDArray[np.float32]:
    return bfloat16_as_floats(elements) if kind.name == "BF16" else elements.astype(np.float32)


def _projected(elements: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean, standard deviation, and projections of each row."""
    width = elements.shape[1]
    projections = elements @ _SIGNS[:width] / np.float32(math.sqrt(width))
    return np.column_stack([elements.mean(axis=1), elements.std(axis=1), projections])
