"""The figures of executed batches as packed little-endian arrays, which a batch span carries (docs/telemetry.md)."""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections.abc import Sequence

from services.common.errors import PenstockError
from services.common.status import code_of
from services.common.trace_context import TraceContext
from services.common.tracing import AttributeValue
from services.inference.model_process.worker import BatchReport

_U32_MAX = 2**32 - 1
_NO_TRACE = bytes(16)
_ABANDONED = 1
"""CANCELLED, which no model process answers: the gateway's span speaks for the request."""


def answers_of_classifier(report: BatchReport) -> bool:
    """Whether the answers of a batch say that the model is a classifier."""
    answered = next((one.outcome for one in report.settled if one.outcome.error is None), None)
    return answered is not None and answered.top_class >= 0


class BatchColumns:
    """Figures of one batch, or of several in a row: all of a classifier, or none. Keeps none of their contents.

    ``span`` is the first one's. Instants are nanoseconds of Unix time.
    """

    def __init__(self, first: BatchReport, *, is_classifiers: bool, failed: int = 0) -> None:
        """``failed`` is how many of the batch's requests did."""
        self.is_classifiers = is_classifiers
        self.span = first.span
        self.start_ns = first.start_ns
        self.end_ns = first.end_ns
        self._stream = first.settled[0].delivery.stream
        self._close_reason = first.close_reason
        # Packed at once: what is kept for a tenth of a second as objects is read from cold memory then.
        self._trace_ids = bytearray()
        self._wait_us = bytearray()
        self._total_us = bytearray()
        self._status = bytearray()
        self._confidences = bytearray()
        self._classes = bytearray()
        self._batches: list[tuple[int, int, int, int, int]] = []
        self.add(first, failed=failed)

    def __len__(self) -> int:
        """Requests."""
        return len(self._status)

    def add(self, report: BatchReport, *, failed: int = 0) -> None:
        settled, execution = report.settled, report.execution
        start_ns, end_ns = report.start_ns, report.end_ns
        self.end_ns, self._close_reason = end_ns, report.close_reason
        entries = [one.delivery.entry for one in settled]
        enqueued = [one.enqueue_ns for one in entries]
        self._trace_ids += _trace_ids([one.traceparent for one in entries])
        self._wait_us += _u32([(start_ns - one) // 1000 for one in enqueued])
        self._total_us += _u32([(end_ns - one) // 1000 for one in enqueued])
        self._status += bytes(
            [_ABANDONED if one.is_abandoned else _status_of(one.outcome.error) if failed else 0 for one in settled]
        )
        if self.is_classifiers:
            self._confidences += _little_endian(array("f", [one.outcome.confidence for one in settled]))
            self._classes += _little_endian(array("i", [one.outcome.top_class for one in settled]))
        self._batches.append((len(settled), report.rows, execution.input_ns, execution.infer_ns, execution.output_ns))

    def attributes(self) -> dict[str, AttributeValue]:
        """A batch span's attributes; those that say which batch did what are there if there are several."""
        requests, rows, *compute_ns = zip(*self._batches, strict=True)
        attributes: dict[str, AttributeValue] = {
            "messaging.destination.name": self._stream,
            "messaging.batch.message_count": len(self),
            "penstock.batch.rows": sum(rows),
            "penstock.batch.close_reason": self._close_reason,
            "penstock.compute.input_ns": sum(compute_ns[0]),
            "penstock.compute.infer_ns": sum(compute_ns[1]),
            "penstock.compute.output_ns": sum(compute_ns[2]),
            "penstock.requests.trace_id": bytes(self._trace_ids),
            "penstock.requests.wait_us": bytes(self._wait_us),
            "penstock.requests.total_us": bytes(self._total_us),
            "penstock.requests.status": bytes(self._status),
        }
        if self.is_classifiers:
            attributes["penstock.requests.confidence"] = bytes(self._confidences)
            attributes["penstock.requests.class"] = bytes(self._classes)
        if len(self._batches) > 1:
            attributes["penstock.batch.count"] = len(self._batches)
            attributes["penstock.batches.requests"] = _u32(requests)
            attributes["penstock.batches.rows"] = _u32(rows)
            attributes["penstock.batches.input_ns"] = _u32(compute_ns[0])
            attributes["penstock.batches.infer_ns"] = _u32(compute_ns[1])
            attributes["penstock.batches.output_ns"] = _u32(compute_ns[2])
        return attributes


def _trace_ids(traceparents: Sequence[str]) -> bytes:
    """The trace ids, one after the other; zeros for one that can't be read."""
    with contextlib.suppress(ValueError):
        ids = bytes.fromhex("".join([one[3:35] for one in traceparents]))
        if len(ids) == 16 * len(traceparents):
            return ids
    parents = map(TraceContext.parse, traceparents)
    return b"".join([_NO_TRACE if one is None else one.trace_id for one in parents])


def _status_of(error: PenstockError | None) -> int:
    return 0 if error is None else int(code_of(error).value[0])


def _u32(values: Sequence[int]) -> bytes:
    try:
        return _little_endian(array("I", values))
    except OverflowError:  # clocks differ
        return _little_endian(array("I", [min(max(value, 0), _U32_MAX) for value in values]))


def _little_endian(values: array[float] | array[int]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()
