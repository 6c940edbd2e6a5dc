"""What is told of a model's answers: confidence, class and entropy, or the norm; and what is not finite.

Answers are kept as the bytes that the responses were made of, and looked at many at a time: a call of numpy takes a
microsecond, whatever it is given.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.datatypes import Datatype, bfloat16_as_floats
from services.inference.backends import Array
from services.inference.model_process.encoder import KEPT_BYTES
from services.inference.model_process.outputs import Layout, Outputs

_log = logging.getLogger(__name__)

Content = bytes | bytearray | memoryview
Kept = tuple[Layout, list[int], list[bytes | memoryview]]
"""Of a batch's answers: where numbers are, the rows of each request, and the bytes of each output."""
Runs = Sequence[tuple[Layout, int]]
"""Layouts of requests in a row, each with how many requests there are up to its end."""

_Sums = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Sums of squares, and how many elements are infinite or no number."""

_LOGARITHMS = 128
"""For each request, on average; of twice as many classes every other request has an entropy."""
_SUM_TOLERANCE = 1e-2
_TINY = np.float32(1e-30)
_LARGEST = float(np.finfo(np.float32).max)
_BLOCK = 1 << 18
"""Elements that are looked at in one go, so that no answer needs much memory beside its own."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """A figure for each request. ``confidence``, ``entropy`` (nats) and ``norm`` (root mean square) are NaN, and
    ``top_class`` is -1, where there is none. ``nonfinite`` counts NaN and infinities in all floating-point outputs.
    """

    confidence: NDArray[np.float32]
    top_class: NDArray[np.int32]
    entropy: NDArray[np.float32]
    norm: NDArray[np.float32]
    nonfinite: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.nonfinite)

    @property
    def is_classifiers(self) -> bool:
        """Whether these are answers of a classifier."""
        return bool((self.top_class >= 0).any())

    @classmethod
    def none(cls, requests: int) -> Statistics:
        """Of requests of which there is nothing to tell."""
        blank = np.full(requests, np.nan, np.float32)
        return cls(blank, np.full(requests, -1, np.int32), blank, blank, np.zeros(requests, np.uint32))

    @classmethod
    def joined(cls, parts: Sequence[Statistics]) -> Statistics:
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in cls.__slots__))


def answers_of(outputs: Outputs, rows: list[int], total: int) -> Kept | Statistics | None:
    """What is to be kept of a batch's outputs: their bytes where these are few, else what there is to tell of them.

    ``rows`` are those of each request, ``total`` of all. None where there is nothing to tell.
    """
    layout = outputs.layout
    if layout is None:
        return None
    columns = outputs.columns
    kept = layout, rows, [columns[name].content or b"" for name in layout.names]
    # Larger ones are views of arrays that belong to the model.
    return kept if layout.row_bytes * total < KEPT_BYTES else _looked_at(kept)


def _looked_at(kept: Kept) -> Statistics | None:
    layout, rows, contents = kept
    try:
        return summarised([(layout, len(rows))], rows, contents)
    except Exception as error:  # noqa: BLE001 - no figure may cost the caller the answer
        _log.warning("a batch's answers can't be looked at: %r", error)
        return None


def summarised(runs: Runs, rows: Sequence[int], contents: Sequence[Content]) -> Statistics:
    """The figures of requests of so many rows each.

    Their layouts are alike; ``contents`` are the bytes of each output.
    """
    layout, units, requests = runs[0][0], np.array(rows, np.int64), len(rows)
    found, norm = Statistics.none(requests), np.full(requests, np.nan, np.float32)
    nonfinite = np.zeros(requests, np.int64)
    with np.errstate(all="ignore"):  # a model may give anything
        for place, (content, kind) in enumerate(zip(contents, layout.datatypes, strict=True)):
            values = np.frombuffer(content, kind.dtype)
            counts = units * _sizes(runs, place)
            if not place and layout.classes:
                found = classified(_first_rows(values, kind, counts, layout.classes))
                if len(values) == requests * layout.classes and (found.top_class >= 0).all():
                    continue  # what sums to 1 is finite
            if len(runs) == 1:
                squares, wrong = _of_requests(_of_rows(values.reshape(units.sum(), layout.sizes[place]), kind), units)
            else:
                squares, wrong = _of_shares(widened(values, kind), counts)
            nonfinite += wrong
            if not place and not found.is_classifiers:
                norm = _norm(squares, wrong, counts)
    return Statistics(found.confidence, found.top_class, found.entropy, norm, nonfinite.astype(np.uint32))


def _sizes(runs: Runs, place: int) -> int | NDArray[np.int64]:
    """The elements that an output has for a row of each request; one number where that is the same for all."""
    if len(runs) == 1:
        return runs[0][0].sizes[place]
    return np.repeat([one.sizes[place] for one, _ in runs], np.diff([end for _, end in runs], prepend=0))


def widened(values: Array, kind: Datatype) -> Array:
    """Numbers to compute with: a copy of those that have 16 bits."""
    if kind.name == "BF16":
        return bfloat16_as_floats(values)
    return values.astype(np.float32) if kind.itemsize < 4 else values


def _of_rows(table: Array, kind: Datatype) -> _Sums:
    rows, width = table.shape
    squares, wrong = np.zeros(rows), np.zeros(rows, np.int64)
    step = max(1, _BLOCK // max(1, width))
    for first in range(0, rows, step):
        some = slice(first, first + step)
        for left in range(0, width, _BLOCK):
            block = widened(table[some, left : left + _BLOCK], kind)
            sums = np.einsum("ij,ij->i", block, block)
            if not np.isfinite(sums).all():
                sums = np.einsum("ij,ij->i", block, block, dtype=np.float64)
                wrong[some] += block.shape[1] - np.count_nonzero(np.isfinite(block), axis=1)
            squares[some] += sums
    return squares, wrong


def _of_requests(sums: _Sums, rows: NDArray[np.int64]) -> _Sums:
    """What rows have, added up for requests of one or more."""
    squares, wrong = sums
    if len(squares) == len(rows):
        return sums
    starts = np.cumsum(rows) - rows
    return np.add.reduceat(squares, starts), np.add.reduceat(wrong, starts)


def _of_shares(values: Array, counts: NDArray[np.int64]) -> _Sums:
    """Of so many elements each, perhaps none."""
    squares, wrong = np.zeros(len(counts)), np.zeros(len(counts), np.int64)
    some = counts > 0
    if some.any():
        starts = (np.cumsum(counts) - counts)[some]
        squares[some] = np.add.reduceat(np.square(values, dtype=np.float64), starts)
        if not np.isfinite(squares).all():
            wrong[some] = np.add.reduceat(~np.isfinite(values), starts, dtype=np.int64)
    return squares, wrong


def _norm(squares: NDArray[np.float64], wrong: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Root mean square; of what is finite it is finite too."""
    norm = np.sqrt(squares / counts)
    return np.where(wrong == 0, np.minimum(norm, _LARGEST), norm).astype(np.float32)


def _first_rows(values: Array, kind: Datatype, counts: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """The first row of each request, which has so many elements: as [requests, classes]."""
    table = values.reshape(-1, classes)
    if len(table) > len(counts):
        table = table[(np.cumsum(counts) - counts) // classes]
    return widened(table, kind).astype(np.float32, copy=False)


def classified(scores: NDArray[np.float32]) -> Statistics:
    """Highest probability, its index, and entropy, where rows sum to 1 as those of a classifier do."""
    requests, classes = scores.shape
    nothing = Statistics.none(requests)
    sums = scores.sum(axis=1)
    is_distribution = np.abs(sums - 1.0) < _SUM_TOLERANCE
    if not scores.min() >= 0:  # NaN, too: by rows that takes several times as long
        is_distribution &= scores.min(axis=1) >= 0
    found = int(is_distribution.sum())
    if (2 * found <= requests and found < int(np.isfinite(sums).sum())) or not found:
        return nothing  # some rows of anything sum to 1
    entropy = nothing.entropy.copy()
    some = scores[:: max(1, classes // _LOGARITHMS)]
    entropy[:: max(1, classes // _LOGARITHMS)] = -np.einsum("ij,ij->i", some, np.log(np.maximum(some, _TINY)))
    top_class = scores.argmax(axis=1).astype(np.int32)
    confidence = scores[np.arange(requests), top_class]
    if found < requests:
        confidence[~is_distribution] = entropy[~is_distribution] = np.nan
        top_class[~is_distribution] = -1
    return Statistics(confidence, top_class, entropy, nothing.norm, nothing.nonfinite)
