"""Sketches of what some of the requests ask: few numbers that tell how inputs are spread, and nothing more of them.

Features of small tables are given as they are; of anything larger its mean, its standard deviation and random
projections of at most 256 of its elements (Failing Loudly, arXiv 1810.11953: shifts show in few projections as well).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.common.datatypes import datatype
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.tensors import Form, Tensors

FEATURES, PROJECTIONS = "features", "projections"

MOST_PER_SECOND = 256
_MOST_FEATURES = 32
_MOST_ELEMENTS = 256
_DIRECTIONS = 14
_SIGNS: npt.NDArray[np.float32] = np.random.default_rng(20_171).choice(
    np.array([-1, 1], np.float32), (_MOST_ELEMENTS, _DIRECTIONS)
)
"""The same in all processes and versions, so that their sketches compare."""

_MOST_PLANS = 64


class Sample(NamedTuple):
    """A request's number, and the bytes of what is taken of its inputs."""

    number: int
    form: Form
    contents: list[bytes]


class _Taken(NamedTuple):
    """What is taken of an input: its place and name in the request, elements of the first row, and every so manieth."""

    place: int
    name: str
    size: int
    stride: int
    size_bytes: int


class InputSketcher:
    """Chooses requests, ``MOST_PER_SECOND`` at most, and sketches the first row of each.

    Which requests: every so manieth, as the second before says, so that they are spread over the second. Choosing is
    cheap; :meth:`rows` is for many at once.
    """

    def __init__(self, signature: Signature) -> None:
        first = 1 if signature.is_batchable else 0
        numeric = [spec for spec in signature.inputs if datatype(spec.datatype).dtype.kind in "biuf"]
        sizes = [_size(spec, first) for spec in numeric]
        self.kind = FEATURES if sizes and 0 < sum(sizes) <= _MOST_FEATURES and min(sizes) > 0 else PROJECTIONS
        self._elements = sum(sizes) if self.kind == FEATURES else _MOST_ELEMENTS
        self._names = [spec.name for spec in numeric]
        self._most = _MOST_ELEMENTS // max(1, len(numeric))
        self._is_batchable = signature.is_batchable
        self._plans: dict[int, tuple[Form, list[_Taken]]] = {}
        self._second = 0
        self._seen = self._taken = 0
        self._stride = 1

    def choose(self, requests: Sequence[Tensors], *, now_ns: int, first: int = 0) -> list[Sample]:
        """Samples of some of these requests, the first of which has the number ``first``."""
        if not self._names:
            return []
        second = now_ns // 1_000_000_000
        if second != self._second:
            # An odd number, so that clients that take turns by twos all get theirs.
            self._stride = -(-self._seen // MOST_PER_SECOND) | 1
            self._second, self._seen, self._taken = second, 0, 0
        chosen = range(-self._seen % self._stride, len(requests), self._stride)[: MOST_PER_SECOND - self._taken]
        self._seen += len(requests)
        samples = [self._sample(first + number, requests[number]) for number in chosen if requests[number].form.rows]
        self._taken += len(samples)
        return samples

    def _sample(self, number: int, request: Tensors) -> Sample:
        form = request.form
        contents = []
        for taken in self._plan(form):
            if request.raw is None:
                array = np.ravel(request.inputs[taken.name])[: taken.size : taken.stride]
                contents.append(array.tobytes())
            elif taken.stride == 1:
                contents.append(bytes(request.raw[taken.place][: taken.size_bytes]))
            else:
                elements = np.frombuffer(request.raw[taken.place], form.dtypes[taken.place], taken.size)
                contents.append(elements[:: taken.stride].tobytes())
        return Sample(number, form, contents)

    def _plan(self, form: Form) -> list[_Taken]:
        known = self._plans.get(id(form))
        if known is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            # The form is kept, so that no other gets its id.
            known = self._plans[id(form)] = form, list(self._taken_of(form))
        return known[1]

    def _taken_of(self, form: Form) -> Iterator[_Taken]:
        for place, (name, dtype, shape) in enumerate(zip(form.names, form.dtypes, form.shapes, strict=True)):
            if name in self._names:
                size = math.prod(shape[1:] if self._is_batchable else shape)
                stride = 1 if self.kind == FEATURES else max(1, -(-size // self._most))
                yield _Taken(place, name, size, stride, size * dtype.itemsize)

    def rows(self, samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
        """The sketches, in the order of the samples."""
        with np.errstate(all="ignore"):  # inputs may be anything
            rows = np.concatenate(
                [self._joined(list(run)) for _, run in groupby(samples, key=lambda one: id(one.form))]
            )
            if self.kind == PROJECTIONS:
                projections = rows @ _SIGNS / np.float32(math.sqrt(_MOST_ELEMENTS))
                rows = np.column_stack([rows.mean(axis=1), rows.std(axis=1), projections])
            return rows.astype("<f4", copy=False)

    def _joined(self, samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
        """What was taken of requests of one form, as [requests, elements]: cut, or padded with zeros, to one width."""
        form, number = samples[0].form, len(samples)
        joined = np.zeros((number, self._elements), np.float32)
        first = 0
        for at, taken in enumerate(self._plan(form)):
            contents = b"".join([one.contents[at] for one in samples])
            part = np.frombuffer(contents, form.dtypes[taken.place]).reshape(number, -1)
            end = min(first + part.shape[1], self._elements)
            joined[:, first:end] = part[:, : end - first]
            first = end
        return joined


def _size(spec: TensorSpec, first: int) -> int:
    """Elements of a row; 0 where it isn't known."""
    shape = spec.shape[first:]
    return math.prod(shape) if all(size > 0 for size in shape) else 0
