"""Figures and spans of a model process, by the names in docs/telemetry.md."""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from services.common.errors import PenstockError
from services.common.span_encoding import encode_attributes
from services.common.status import code_of
from services.common.tracing import AttributeValue, SpanExporter, SpanKind, TraceContext
from services.inference.model_process.worker import POISON_MESSAGE, BatchReport, Settled

_MOST_LINKS = 128
_U32_MAX = 2**32 - 1
_NO_TRACE = bytes(16)
_ABANDONED = 1
"""CANCELLED, which no model process answers: the gateway's span speaks for the request."""


@dataclass(slots=True)
class Figures:
    """Counts since the process started."""

    executions: int = 0
    rows: int = 0
    errors: int = 0
    claimed: int = 0
    dead_letters: int = 0

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class Telemetry:
    """Counts batches, and makes a batch span of each, and spans of sampled and failed requests."""

    def __init__(self, exporter: SpanExporter, *, model: str, version: str, device: str) -> None:
        self._exporter = exporter
        self._model = model
        self._common: dict[str, AttributeValue] = {
            "messaging.system": "redis",
            "messaging.operation.type": "process",
            "penstock.model.name": model,
            "penstock.model.version": version,
        }
        self._batch_name = f"batch {model}"
        self._batch_constants = encode_attributes({**self._common, "penstock.compute.device": device})
        self.figures = Figures()

    def batch_ended(self, report: BatchReport) -> None:
        figures, failed = self.figures, sum(one.outcome.error is not None for one in report.settled)
        figures.executions += 1
        figures.rows += report.rows
        figures.errors += failed
        figures.claimed += sum(one.delivery.is_suspect for one in report.settled)
        if self._exporter.is_enabled:
            self._export(report, failed)

    def refused(self, settled: Sequence[Settled]) -> None:
        self.figures.errors += len(settled)
        for one in settled:
            self.figures.claimed += one.delivery.is_suspect
            self.figures.dead_letters += one.outcome.error is not None and one.outcome.error.reason == POISON_MESSAGE

    def _export(self, report: BatchReport, failed: int) -> None:
        parents = _parents(report.settled, failed=failed)
        sampled = (parents[number] for number in parents if report.settled[number].delivery.entry.envelope.is_sampled)
        attributes = self._batch_attributes(report, failed=failed)
        error = None
        if failed == len(report.settled):
            error = next(one.outcome.error for one in report.settled if one.outcome.error is not None)
            attributes["error.type"] = error.reason
        self._exporter.export(
            self._batch_name,
            report.span,
            kind=SpanKind.CONSUMER,
            start_ns=report.start_ns,
            end_ns=report.end_ns,
            attributes=attributes,
            more=self._batch_constants,
            links=list(islice(sampled, _MOST_LINKS)) if parents else (),
            error=None if error is None else error.message,
        )
        for number, parent in parents.items():
            self._export_request(report.settled[number], parent, report)

    def _batch_attributes(self, report: BatchReport, *, failed: int) -> dict[str, AttributeValue]:
        settled, execution = report.settled, report.execution
        return {
            "messaging.destination.name": settled[0].delivery.stream,
            "messaging.batch.message_count": len(settled),
            "penstock.batch.rows": report.rows,
            "penstock.batch.close_reason": report.close_reason,
            "penstock.compute.input_ns": execution.input_ns,
            "penstock.compute.infer_ns": execution.infer_ns,
            "penstock.compute.output_ns": execution.output_ns,
            **packed(report, failed=failed),
        }

    def _export_request(self, one: Settled, parent: TraceContext, report: BatchReport) -> None:
        error = one.outcome.error
        attributes = self._common | {
            "messaging.destination.name": one.delivery.stream,
            "penstock.queue.wait_ns": max(0, report.start_ns - one.delivery.entry.enqueue_ns),
            "penstock.queue.delivery_count": one.delivery.attempt,
        }
        self._exporter.export(
            f"process {self._model}",
            parent.child(),
            kind=SpanKind.CONSUMER,
            start_ns=report.start_ns,
            end_ns=report.end_ns,
            parent=parent,
            attributes=attributes if error is None else attributes | {"error.type": error.reason},
            links=[report.span],
            error=None if error is None else error.message,
        )


def _parents(settled: Sequence[Settled], *, failed: int) -> dict[int, TraceContext]:
    """The PRODUCER spans of the requests that get spans of their own, by their place in the batch."""
    return {
        number: parent
        for number, one in enumerate(settled)
        if (one.delivery.entry.envelope.is_sampled or (failed and one.outcome.error is not None))
        and (parent := TraceContext.parse(one.delivery.entry.traceparent)) is not None
    }


def packed(report: BatchReport, *, failed: int) -> dict[str, AttributeValue]:
    """The per-request figures of a batch as little-endian arrays, in the order of its requests."""
    entries = [one.delivery.entry for one in report.settled]
    enqueued = [one.enqueue_ns for one in entries]
    start_ns, end_ns = report.start_ns, report.end_ns
    columns: dict[str, AttributeValue] = {
        "penstock.requests.trace_id": _trace_ids([one.traceparent for one in entries]),
        "penstock.requests.wait_us": _u32([(start_ns - one) // 1000 for one in enqueued]),
        "penstock.requests.total_us": _u32([(end_ns - one) // 1000 for one in enqueued]),
        "penstock.requests.status": bytes(
            [
                _ABANDONED if one.is_abandoned else _status_of(one.outcome.error) if failed else 0
                for one in report.settled
            ]
        ),
    }
    answered = next((one.outcome for one in report.settled if one.outcome.error is None), None)
    if answered is not None and answered.top_class >= 0:  # the model is a classifier
        outcomes = [one.outcome for one in report.settled]
        columns["penstock.requests.confidence"] = _little_endian(array("f", [one.confidence for one in outcomes]))
        columns["penstock.requests.class"] = _little_endian(array("i", [one.top_class for one in outcomes]))
    return columns


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
