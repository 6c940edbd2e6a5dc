"""Figures and spans of a model process, by the names in docs/telemetry.md."""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from services.common.errors import PenstockError
from services.common.lanes import Entry
from services.common.status import code_of
from services.common.tracing import AttributeValue, SpanExporter, SpanKind, TraceContext
from services.inference.model_process.worker import POISON_MESSAGE, BatchReport, Settled

_MOST_LINKS = 128
_U32_MAX = 2**32 - 1
_NO_TRACE = bytes(16)
# What gateways write; any other form is for TraceContext to read.
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]").fullmatch
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
        self._device = device
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
        parents = {
            number: parent
            for number, one in enumerate(report.settled)
            if (one.outcome.error is not None or one.delivery.entry.envelope.is_sampled)
            and (parent := TraceContext.parse(one.delivery.entry.traceparent)) is not None
        }
        sampled = (parents[number] for number in parents if report.settled[number].delivery.entry.envelope.is_sampled)
        error = next((one.outcome.error for one in report.settled if one.outcome.error is not None), None)
        is_failed = failed == len(report.settled)
        self._exporter.export(
            f"batch {self._model}",
            report.span,
            kind=SpanKind.CONSUMER,
            start_ns=report.start_ns,
            end_ns=report.end_ns,
            attributes=self._common
            | self._batch_attributes(report)
            | packed(report)
            | ({"error.type": error.reason} if is_failed and error else {}),
            links=list(islice(sampled, _MOST_LINKS)),
            error=error.message if is_failed and error else None,
        )
        for number, parent in parents.items():
            self._export_request(report.settled[number], parent, report)

    def _batch_attributes(self, report: BatchReport) -> dict[str, AttributeValue]:
        return {
            "messaging.destination.name": report.settled[0].delivery.stream,
            "messaging.batch.message_count": len(report.settled),
            "penstock.batch.rows": report.rows,
            "penstock.batch.close_reason": report.close_reason,
            "penstock.compute.device": self._device,
            "penstock.compute.input_ns": report.execution.input_ns,
            "penstock.compute.infer_ns": report.execution.infer_ns,
            "penstock.compute.output_ns": report.execution.output_ns,
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


def packed(report: BatchReport) -> dict[str, AttributeValue]:
    """The per-request figures of a batch as little-endian arrays, in the order of its requests."""
    entries: list[Entry] = [one.delivery.entry for one in report.settled]
    outcomes = [one.outcome for one in report.settled]
    start_ns, end_ns = report.start_ns, report.end_ns
    columns: dict[str, AttributeValue] = {
        "penstock.requests.trace_id": _trace_ids([one.traceparent for one in entries]),
        "penstock.requests.wait_us": _u32([(start_ns - one.enqueue_ns) // 1000 for one in entries]),
        "penstock.requests.total_us": _u32([(end_ns - one.enqueue_ns) // 1000 for one in entries]),
        "penstock.requests.status": bytes(
            [_ABANDONED if one.is_abandoned else _status_of(one.outcome.error) for one in report.settled]
        ),
    }
    if any(one.top_class >= 0 for one in outcomes):
        columns["penstock.requests.confidence"] = _little_endian(array("f", [one.confidence for one in outcomes]))
        columns["penstock.requests.class"] = _little_endian(array("i", [one.top_class for one in outcomes]))
    return columns


def _trace_ids(traceparents: Sequence[str]) -> bytes:
    """The trace ids, one after the other; zeros for one that can't be read."""
    if all(map(_TRACEPARENT, traceparents)):
        return bytes.fromhex("".join([one[3:35] for one in traceparents]))
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
