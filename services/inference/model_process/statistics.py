"""What is told of a model's answers: confidence, class and entropy, or the norm; and what is not finite.

Answers are kept as the bytes that the responses were made of, and looked at many at a time: a call of numpy takes a
microsecond, whatever it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from services.inference.model_process.encoder import KEPT_BYTES, Column

Content = bytes | bytearray | memoryview

MOST_BYTES = 256 * 1024
_LOGARITHMS = 128
"""For each request, on average; of twice as many classes every other request has an entropy."""
_MOST_CLASSES = 10_000
_SUM_TOLERANCE = 1e-2
_TINY = np.float32(1e-30)


@dataclass(slots=True)  # not frozen: that takes 1 µs for each
class Answers:
    """The floating-point outputs of a batch, or of several: their types, the elements of a row, and their bytes.

    ``rows`` are those of each request. ``is_flat`` if a row of the first output is a list of numbers, as those of a
    classifier are.
    """

    dtypes: Sequence[np.dtype[Any]]
    sizes: Sequence[int]
    contents: Sequence[Content]
    rows: Sequence[int]
    is_flat: bool

    @property
    def size_bytes(self) -> int:
        return sum([len(content) for content in self.contents])

    def is_like(self, other: Answers) -> bool:
        return self.sizes == other.sizes and self.dtypes == other.dtypes and self.is_flat == other.is_flat


@dataclass(frozen=True, slots=True)
class Statistics:
    """A figure for each request. ``confidence``, ``entropy`` (nats) and ``norm`` (root mean square) are NaN, and
    ``top_class`` is -1, where there is none. ``nonfinite`` counts NaN and infinities in all floating-point outputs.
    """

    confidence: npt.NDArray[np.float32]
    top_class: npt.NDArray[np.int32]
    entropy: npt.NDArray[np.float32]
    norm: npt.NDArray[np.float32]
    nonfinite: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.nonfinite)

    @property
    def is_classifiers(self) -> bool:
        """Whether these are answers of a classifier."""
        return bool((self.top_class >= 0).any())

    @classmethod
    def none(cls, requests: int) -> Statistics:
        """Of requests that have no floating-point outputs."""
        blank = np.full(requests, np.nan, np.float32)
        return cls(blank, np.full(requests, -1, np.int32), blank, blank, np.zeros(requests, np.uint32))

    @classmethod
    def joined(cls, parts: Sequence[Statistics]) -> Statistics:
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in cls.__slots__))


def answers_of(
    columns: Mapping[str, Column], rows: Sequence[int], *, is_batchable: bool
) -> Answers | Statistics | None:
    """What is to be kept of a batch's outputs: their bytes where these are few, else what there is to tell of them.

    ``rows`` are those of each request. None where a model has no floating-point outputs.
    """
    found = [one for one in columns.values() if one.content is not None and one.array.dtype.kind == "f"]
    if not found:
        return None
    first = found[0]
    sizes = [one.size // one.array.dtype.itemsize for one in found]
    is_flat = len(first.shape) == (1 if is_batchable else 2)
    if not is_batchable:  # a row is what the first dimension counts, if it looks like that
        rows = [first.shape[0]] if is_flat and first.shape[0] else [1]
        sizes[0] //= rows[0]
    contents = [one.content for one in found if one.content is not None]
    answers = Answers([one.array.dtype for one in found], sizes, contents, rows, is_flat)
    # Larger ones are views of arrays that belong to the model.
    return answers if answers.size_bytes < KEPT_BYTES else statistics_of([(answers, len(rows))])


def statistics_of(batches: Sequence[tuple[Answers | Statistics | None, int]]) -> Statistics:
    """The figures of batches in a row, given with their numbers of requests."""
    gathered = AnswerColumns()
    for answers, requests in batches:
        gathered.add(answers, requests)
    return gathered.statistics()


class AnswerColumns:
    """Answers to requests in a row, looked at many at a time. Holds ``MOST_BYTES`` of them, and a batch, at most."""

    def __init__(self) -> None:
        self._parts: list[Statistics] = []
        self._like: Answers | None = None
        """The first of those that weren't looked at yet, all of which are alike."""
        self._contents: list[bytearray] = []
        self._rows: list[int] = []
        self._size_bytes = 0

    def add(self, answers: Answers | Statistics | None, requests: int) -> None:
        """Take a batch's in, which has so many requests."""
        if not isinstance(answers, Answers):
            self._work_off()
            self._parts.append(Statistics.none(requests) if answers is None else answers)
            return
        if self._like is None or not self._like.is_like(answers):
            self._work_off()
            self._like, self._contents = answers, [bytearray() for _ in answers.contents]
        for held, content in zip(self._contents, answers.contents, strict=True):
            held.extend(content)
        self._rows.extend(answers.rows)
        self._size_bytes += answers.size_bytes
        if self._size_bytes >= MOST_BYTES:
            self._work_off()

    def statistics(self) -> Statistics:
        """Of all requests so far."""
        self._work_off()
        return Statistics.joined(self._parts)

    def _work_off(self) -> None:
        like, self._like = self._like, None
        if like is not None:
            self._parts.append(_summarised(replace(like, contents=self._contents, rows=self._rows)))
            self._contents, self._rows, self._size_bytes = [], [], 0


def _summarised(answers: Answers) -> Statistics:
    rows = answers.rows
    if not sum(rows):
        return Statistics.none(len(rows))
    starts = np.cumsum(rows) - rows
    is_single = len(starts) == int(starts[-1]) + rows[-1]
    given = np.frombuffer(answers.contents[0], answers.dtypes[0]).reshape(sum(rows), -1)
    with np.errstate(all="ignore"):  # a model may give anything
        values = given.astype(np.float32, copy=False)
        confidence, top_class, entropy = _classified(values if is_single else values[starts], answers.is_flat)
        nonfinite, norm = np.zeros(len(rows), np.uint32), np.full(len(rows), np.nan, np.float32)
        is_classified = bool((top_class >= 0).all())
        if not (is_classified and is_single):  # what sums to 1 is finite
            squares = np.einsum("ij,ij->i", values, values)
            if not np.isfinite(squares).all():
                wrong = (~np.isfinite(given)).sum(axis=1)
                nonfinite += _per_request(wrong, starts, is_single=is_single).astype(np.uint32)
            if not (top_class >= 0).any() and values.shape[1]:
                means = _per_request(squares, starts, is_single=is_single) / (np.array(rows) * values.shape[1])
                norm = np.sqrt(means).astype(np.float32)
        for number in range(1, len(answers.contents)):
            nonfinite += _nonfinite(answers, number)
    return Statistics(confidence, top_class, entropy, norm, nonfinite)


def _per_request(values: npt.NDArray[Any], starts: npt.NDArray[Any], *, is_single: bool) -> npt.NDArray[Any]:
    return values if is_single else np.add.reduceat(values, starts)


def _nonfinite(answers: Answers, number: int) -> npt.NDArray[np.uint32]:
    """Of each request in another output than the first; one sum says whether there are any."""
    values, rows = np.frombuffer(answers.contents[number], answers.dtypes[number]), answers.rows
    counts = np.zeros(len(rows), np.uint32)
    if values.size and not np.isfinite(values.sum()):
        # Of a model without rows each request has as many of all.
        has_rows = len(values) == sum(rows) * answers.sizes[number]
        sizes = [count * answers.sizes[number] for count in rows] if has_rows else [answers.sizes[number]] * len(rows)
        ends = np.cumsum(sizes)
        wrong = np.concatenate([[0], np.cumsum(~np.isfinite(values))])
        counts += (wrong[ends] - wrong[ends - sizes]).astype(np.uint32)
    return counts


def _classified(
    scores: npt.NDArray[np.float32], is_flat: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Highest probability, its index, and entropy, of each request's first row.

    A classifier's first floating-point output is [rows, 2 to 10,000 classes], and its rows sum to 1.
    """
    requests, classes = scores.shape
    blank = np.full(requests, np.nan, np.float32)
    nothing = blank, np.full(requests, -1, np.int32), blank
    if not is_flat or not 2 <= classes <= _MOST_CLASSES:
        return nothing
    sums, least = scores.sum(axis=1), scores.min(axis=1)
    is_distribution = (np.abs(sums - 1.0) < _SUM_TOLERANCE) & (least >= 0)
    found = int(is_distribution.sum())
    if (2 * found <= requests and found < int(np.isfinite(sums).sum())) or not found:
        return nothing  # some rows of anything sum to 1
    entropy = blank.copy()
    some = scores[:: max(1, classes // _LOGARITHMS)]
    entropy[:: max(1, classes // _LOGARITHMS)] = -np.einsum("ij,ij->i", some, np.log(np.maximum(some, _TINY)))
    confidence, top_class = scores.max(axis=1), scores.argmax(axis=1).astype(np.int32)
    if found < requests:
        confidence[~is_distribution] = entropy[~is_distribution] = np.nan
        top_class[~is_distribution] = -1
    return confidence, top_class, entropy
