"""What was answered to requests that have an id, for the labels that come later.

Every answer counts here, however many there are, so this is apart from batch spans, which tell of some (ADR 32).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.queue.v1.envelope_pb2 import ARM_CANARY, ARM_SHADOW
from services.common.datatypes import Datatype
from services.common.request_keys import request_key
from services.common.tracing import AttributeValue, SpanExporter, SpanKind, TraceContext
from services.inference.model_process.outputs import Layout
from services.inference.model_process.statistics import Content, Statistics, classified, widened
from services.inference.model_process.worker import BatchReport, Settled

_GATHER_S = 1.0
_MOST_ROWS = 4_096
_MOST_BYTES = 256 * 1024
"""Of the answers that wait to be told."""
MOST_PROBABILITIES = 16
"""Classes up to which all probabilities are told, which a log loss takes."""
_ARMS = {ARM_CANARY: "canary", ARM_SHADOW: "shadow"}


class _Kind(NamedTuple):
    """Answers that are told together: of one arm, alike in their first floating-point output; 0 elements: of none."""

    arm: str
    datatype: Datatype | None
    size: int
    classes: int


class _Columns(NamedTuple):
    """What is told of rows. A class is -1, and a number NaN, where there is none."""

    classes: NDArray[np.int32]
    confidence: NDArray[np.float32]
    values: NDArray[np.float64]
    probabilities: NDArray[np.float16]


class Predictions:
    """Gathers answers and tells them each second. ``later`` is an event loop's ``call_later``."""

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        model: str,
        constants: bytes,
        later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
    ) -> None:
        """``constants`` are attributes of all spans, encoded."""
        self._exporter = exporter
        self._name = f"predictions {model}"
        self._constants = constants
        self._later = later
        self._timer: asyncio.TimerHandle | None = None
        self._kind = _Kind("", None, 0, 0)
        self._asked: list[tuple[str, int]] = []
        """Ids of requests, and how many rows each has; empty ids and failed requests too, as they have rows."""
        self._contents: list[Content] = []
        self._looked_at: list[Statistics] = []
        self._rows = self._bytes = 0
        self._start_ns = self._end_ns = 0

    def add(self, report: BatchReport) -> None:
        """Take a batch in, where somebody may tell labels of it."""
        ids = [_told_id(one) for one in report.settled]
        if not any(ids):
            return
        answers = report.execution.answers
        arm = _ARMS.get(report.settled[0].delivery.entry.envelope.arm, "")
        if isinstance(answers, tuple):
            layout, rows, contents = answers
            kind, content = _kind_of(layout, arm), contents[0]
            rows = rows if len(content) == sum(rows) * kind.size * _itemsize(kind) else [1] * len(ids)
        else:  # Of these no more than one row of each request is known.
            kind, content, rows = _Kind(arm, None, 0, 0), b"", [1] * len(ids)
        is_looked_at = isinstance(answers, Statistics)
        if kind != self._kind or is_looked_at != bool(self._looked_at):
            self.flush()
            self._kind = kind
        if not self._asked:
            self._start_ns = report.start_ns
        if isinstance(answers, Statistics):
            self._looked_at.append(answers)
        self._asked.extend(zip(ids, rows, strict=True))
        self._contents.append(content)
        self._rows += sum(rows)
        self._bytes += len(content)
        self._end_ns = report.end_ns
        if self._rows >= _MOST_ROWS or self._bytes >= _MOST_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = self._later(_GATHER_S, self.flush)

    def flush(self) -> None:
        """Tell what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._asked:
            return
        places, keys = self._keys()
        columns = self._columns()
        attributes: dict[str, AttributeValue] = {
            "penstock.requests.id": b"".join(keys),
            "penstock.requests.class": columns.classes[places].astype("<i4").tobytes(),
            "penstock.requests.confidence": columns.confidence[places].astype("<f4").tobytes(),
            "penstock.requests.value": columns.values[places].astype("<f8").tobytes(),
        }
        if columns.probabilities.size:
            attributes["penstock.requests.probabilities"] = columns.probabilities[places].astype("<f2").tobytes()
        if self._kind.arm:
            attributes["penstock.deployment.arm"] = self._kind.arm
        self._exporter.export(
            self._name,
            TraceContext.new_root(is_sampled=True),
            kind=SpanKind.INTERNAL,
            start_ns=self._start_ns,
            end_ns=self._end_ns,
            attributes=attributes,
            more=self._constants,
        )
        self._asked, self._contents, self._looked_at = [], [], []
        self._rows = self._bytes = 0

    def _keys(self) -> tuple[list[int], list[bytes]]:
        """Which rows are told, and by which keys."""
        places, keys, first = list[int](), list[bytes](), 0
        for request_id, rows in self._asked:
            if request_id:
                places.extend(range(first, first + rows))
                keys.extend([request_key(request_id, row) for row in range(rows)])
            first += rows
        return places, keys

    def _columns(self) -> _Columns:
        rows, kind = self._rows, self._kind
        if self._looked_at:
            found = Statistics.joined(self._looked_at)
            return _Columns(found.top_class, found.confidence, np.full(rows, np.nan), np.zeros((rows, 0), np.float16))
        none = Statistics.none(rows)
        blank = _Columns(none.top_class, none.confidence, np.full(rows, np.nan), np.zeros((rows, 0), np.float16))
        if kind.datatype is None:
            return blank
        table = np.frombuffer(b"".join(self._contents), kind.datatype.dtype).reshape(rows, -1)
        if not kind.classes:
            values = widened(table[:, :1], kind.datatype).astype(np.float64).ravel() if table.shape[1] == 1 else None
            return blank if values is None else blank._replace(values=values)
        scores = widened(table[:, : kind.classes], kind.datatype).astype(np.float32, copy=False)
        with np.errstate(all="ignore"):  # a model may give anything
            answers = classified(scores)
        if answers.is_classifiers and kind.classes <= MOST_PROBABILITIES:
            blank = blank._replace(probabilities=scores.astype(np.float16))
        return blank._replace(classes=answers.top_class, confidence=answers.confidence)


def _told_id(one: Settled) -> str:
    """The id of a request whose answer somebody got; "" of others."""
    envelope = one.delivery.entry.envelope
    return "" if one.outcome.error is not None or one.is_abandoned else envelope.request_id


def _kind_of(layout: Layout, arm: str) -> _Kind:
    return _Kind(arm, layout.datatypes[0], layout.sizes[0], layout.classes)


def _itemsize(kind: _Kind) -> int:
    return 0 if kind.datatype is None else kind.datatype.itemsize
