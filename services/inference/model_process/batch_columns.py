"""The figures of executed batches as packed little-endian arrays, which a batch span carries (docs/telemetry.md)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common import arms
from services.common.status import code_of
from services.common.trace_context import TraceContext
from services.common.tracing import AttributeValue
from services.inference.model_process.answer_columns import AnswerColumns
from services.inference.model_process.input_sketch import InputSketcher, Sample
from services.inference.model_process.statistics import Statistics
from services.inference.model_process.worker import BatchReport, Settled, drawn_among

_U32_MAX = 2**32 - 1
_CONTEXT_BYTES = 26
_TRACE_ID = slice(1, 17)
_FLAGS = slice(25, None, _CONTEXT_BYTES)
_ABANDONED = 1
"""CANCELLED, which no model process answers: the gateway's span speaks for the request."""


def trace_contexts(settled: Sequence[Settled]) -> bytes:
    """What the ``traceparent`` of each request says, packed: version, trace id, span id, flags. Zeros for odd ones."""
    traceparents = [one.delivery.entry.traceparent for one in settled]
    try:
        packed = bytes.fromhex("".join(traceparents).replace("-", ""))
    except ValueError:
        packed = b""
    if len(packed) == _CONTEXT_BYTES * len(traceparents):
        return packed
    return b"".join(map(_trace_context, traceparents))


def _trace_context(traceparent: str) -> bytes:
    context = TraceContext.parse(traceparent)
    return bytes(_CONTEXT_BYTES) if context is None else bytes.fromhex(context.traceparent.replace("-", ""))


def are_sampled(contexts: bytes) -> bool:
    """Whether some of the requests may be: those of which it is known here are told by their envelopes."""
    return any(contexts[_FLAGS])


def arm_of(settled: Sequence[Settled]) -> int:
    """What the version was to its model when the first of the requests was enqueued (``penstock.queue.v1.Arm``)."""
    return settled[0].delivery.entry.envelope.arm


class BatchColumns:
    """Figures of batches in a row. Keeps little of their contents.

    ``span`` and ``arm`` are the first one's. Instants are nanoseconds of Unix time.
    """

    def __init__(
        self,
        reports: Sequence[BatchReport],
        settled: Sequence[Settled],
        contexts: bytes,
        *,
        sketcher: InputSketcher,
        has_lengths: bool,
        failed: int = 0,
        is_extra: bool = False,
    ) -> None:
        """As :meth:`add`. ``has_lengths``: answers differ in size. ``is_extra``: nothing is told of contents."""
        first = reports[0]
        self.span = first.span
        self.start_ns = first.start_ns
        self.end_ns = first.end_ns
        self.arm = arm_of(settled)
        self._drawn = 0
        self._stream = settled[0].delivery.stream
        self._close_reason = first.close_reason
        # Packed at once: what is kept for a second as objects is read from cold memory then.
        self._contexts = bytearray()
        self._enqueue_ns = array("q")
        self._status = bytearray()
        self._answers = AnswerColumns()
        self._is_extra = is_extra
        self._has_lengths = has_lengths and not is_extra
        self._lengths = array("L")
        self._sketcher = sketcher
        self._samples: list[Sample] = []
        self._batches = array("q")
        self.add(reports, settled, contexts, failed=failed)

    def __len__(self) -> int:
        """Requests."""
        return len(self._status)

    def add(
        self, reports: Sequence[BatchReport], settled: Sequence[Settled], contexts: bytes, *, failed: int = 0
    ) -> None:
        """``settled`` are the reports' requests, of which so many failed, ``contexts`` their :func:`trace_contexts`."""
        first = len(self)
        self.end_ns, self._close_reason = reports[-1].end_ns, reports[-1].close_reason
        self._contexts += contexts
        self._drawn += drawn_among(settled)
        self._enqueue_ns.extend([one.delivery.entry.enqueue_ns for one in settled])
        if failed or sum([one.is_abandoned for one in settled]):
            self._status += bytes(map(_status_of, settled))
        else:
            self._status += bytes(len(settled))
        if self._has_lengths:
            self._lengths.extend([one.outcome.sent_bytes or len(one.outcome.response) for one in settled])
        if not self._is_extra:
            self._add_contents(reports, first)
        for report in reports:
            execution = report.execution
            self._batches.extend(
                (
                    len(report.settled),
                    report.rows,
                    report.start_ns,
                    report.end_ns,
                    execution.input_ns,
                    execution.infer_ns,
                    execution.output_ns,
                )
            )

    def _add_contents(self, reports: Sequence[BatchReport], first: int) -> None:
        self._answers.add(reports)
        if self._sketcher.is_on:
            requests = [one for report in reports for one in report.requests]
            self._samples += self._sketcher.choose(requests, now_ns=self.end_ns, first=first)

    def attributes(self) -> dict[str, AttributeValue]:
        """A batch span's attributes; those that say which batch did what are there if there are several."""
        requests, rows, start_ns, end_ns, *compute_ns = np.array(self._batches).reshape(-1, 7).T
        enqueue_ns = np.array(self._enqueue_ns)
        contexts = np.frombuffer(self._contexts, np.uint8).reshape(-1, _CONTEXT_BYTES)
        input_ns, infer_ns, output_ns = compute_ns
        attributes: dict[str, AttributeValue] = {
            "messaging.destination.name": self._stream,
            "messaging.batch.message_count": len(self),
            "penstock.batch.rows": int(rows.sum()),
            "penstock.batch.close_reason": self._close_reason,
            "penstock.compute.input_ns": int(input_ns.sum()),
            "penstock.compute.infer_ns": int(infer_ns.sum()),
            "penstock.compute.output_ns": int(output_ns.sum()),
            "penstock.requests.trace_id": contexts[:, _TRACE_ID].tobytes(),
            "penstock.requests.wait_us": _u32((np.repeat(start_ns, requests) - enqueue_ns) // 1000),
            "penstock.requests.total_us": _u32((np.repeat(end_ns, requests) - enqueue_ns) // 1000),
            "penstock.requests.status": bytes(self._status),
        }
        if name := arms.NAMES.get(self.arm):
            attributes["penstock.deployment.arm"] = name
        if self._drawn:
            attributes["penstock.batch.drawn"] = self._drawn
        if (statistics := self._answers.statistics()) is not None:
            attributes |= _told_of(statistics)
        if self._has_lengths:
            attributes["penstock.requests.length"] = _u32(np.array(self._lengths))
        if self._samples:
            attributes["penstock.inputs.sampled"] = _u32(np.array([number for number, _, _ in self._samples]))
            attributes["penstock.inputs.sketch"] = self._sketcher.rows(self._samples).tobytes()
        if self._is_extra:
            attributes["penstock.batch.is_extra"] = True
        if len(requests) > 1:
            attributes["penstock.batch.count"] = len(requests)
            attributes["penstock.batches.requests"] = _u32(requests)
            attributes["penstock.batches.rows"] = _u32(rows)
            attributes["penstock.batches.input_ns"] = _u32(input_ns)
            attributes["penstock.batches.infer_ns"] = _u32(infer_ns)
            attributes["penstock.batches.output_ns"] = _u32(output_ns)
        return attributes


def _told_of(statistics: Statistics) -> dict[str, AttributeValue]:
    """Attributes that say what answers look like."""
    attributes: dict[str, AttributeValue] = {}
    if statistics.is_classifiers:
        attributes["penstock.requests.confidence"] = statistics.confidence.astype("<f4").tobytes()
        attributes["penstock.requests.class"] = statistics.top_class.astype("<i4").tobytes()
        attributes["penstock.requests.entropy"] = statistics.entropy.astype("<f4").tobytes()
    if not np.isnan(statistics.norm).all():
        attributes["penstock.requests.norm"] = statistics.norm.astype("<f4").tobytes()
    if statistics.nonfinite.any():
        attributes["penstock.requests.nonfinite"] = _u32(statistics.nonfinite)
    return attributes


def _status_of(one: Settled) -> int:
    if one.is_abandoned:
        return _ABANDONED
    return 0 if one.outcome.error is None else int(code_of(one.outcome.error).value[0])


def _u32(values: npt.NDArray[Any]) -> bytes:
    return values.clip(0, _U32_MAX).astype("<u4").tobytes()  # clocks differ
