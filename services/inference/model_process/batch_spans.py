"""What is told of batches: a span for one or several, and spans of those requests that have their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.common.errors import PenstockError
from services.common.span_encoding import encode_attributes
from services.common.tracing import AttributeValue, SpanExporter, SpanKind, TraceContext
from services.inference.domain.signature import Signature
from services.inference.model_process.batch_columns import BatchColumns, trace_contexts
from services.inference.model_process.input_sketch import InputSketcher
from services.inference.model_process.thinning import Thinning
from services.inference.model_process.worker import BatchReport, Settled

_MOST_LINKS = 128


class BatchSpans:
    """Gathers the figures of batches, and writes their spans."""

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        model: str,
        common: Mapping[str, AttributeValue],
        device: str,
        signature: Signature,
        sketcher: InputSketcher,
        thinning: Thinning,
    ) -> None:
        """``common`` are attributes of all spans."""
        self._exporter = exporter
        self._batch_name, self._request_name = f"batch {model}", f"process {model}"
        self._common = dict(common)
        self._sketcher = sketcher
        self._thinning = thinning
        self._has_lengths = signature.is_decoupled or _vary(signature)
        kind = {"penstock.inputs.kind": sketcher.kind} if sketcher.is_on else {}
        self._constants = encode_attributes({**common, "penstock.compute.device": device, **kind})

    def columns(
        self,
        reports: Sequence[BatchReport],
        settled: Sequence[Settled],
        contexts: bytes,
        *,
        failed: int = 0,
        is_extra: bool = False,
    ) -> BatchColumns:
        """The arguments are those of :class:`BatchColumns`."""
        return BatchColumns(
            reports,
            settled,
            contexts,
            sketcher=self._sketcher,
            has_lengths=self._has_lengths,
            failed=failed,
            is_extra=is_extra,
        )

    def export_alone(
        self, report: BatchReport, parents: Mapping[int, TraceContext], *, failed: int = 0, is_extra: bool = False
    ) -> None:
        """A span for one batch, and those of its requests that have their own: :func:`parents_of` them.

        ``is_extra``: it is told for what became of it, and not one of those chosen to show how all went.
        """
        settled = report.settled
        sampled = [parents[number] for number in parents if settled[number].delivery.entry.envelope.is_sampled]
        error = None
        if failed == len(settled):
            error = next(one.outcome.error for one in settled if one.outcome.error is not None)
        columns = self.columns([report], settled, trace_contexts(settled), failed=failed, is_extra=is_extra)
        self.export(columns, links=sampled[:_MOST_LINKS], error=error, claimed=_claimed(settled))
        for number, parent in parents.items():
            self._export_request(settled[number], parent, report)

    def export(
        self,
        columns: BatchColumns,
        *,
        links: Sequence[TraceContext] = (),
        error: PenstockError | None = None,
        claimed: int = 0,
    ) -> None:
        """A span for all batches of ``columns``.

        ``claimed`` is how often the request was delivered, if it was taken over from a dead process.
        """
        attributes = columns.attributes() | self._thinning.take_skipped()
        if claimed:
            attributes["penstock.queue.delivery_count"] = claimed
        if error is not None:
            attributes["error.type"] = error.reason
        self._exporter.export(
            self._batch_name,
            columns.span,
            kind=SpanKind.CONSUMER,
            start_ns=columns.start_ns,
            end_ns=columns.end_ns,
            attributes=attributes,
            more=self._constants,
            links=links,
            error=None if error is None else error.message,
        )

    def _export_request(self, one: Settled, parent: TraceContext, report: BatchReport) -> None:
        error = one.outcome.error
        attributes = self._common | {
            "messaging.destination.name": one.delivery.stream,
            "penstock.queue.wait_ns": max(0, report.start_ns - one.delivery.entry.enqueue_ns),
            "penstock.queue.delivery_count": one.delivery.attempt,
        }
        self._exporter.export(
            self._request_name,
            parent.child(),
            kind=SpanKind.CONSUMER,
            start_ns=report.start_ns,
            end_ns=report.end_ns,
            parent=parent,
            attributes=attributes if error is None else attributes | {"error.type": error.reason},
            links=[report.span],
            error=None if error is None else error.message,
        )


def parents_of(settled: Sequence[Settled]) -> dict[int, TraceContext]:
    """The PRODUCER spans of the requests that get spans of their own, by their place in the batch."""
    return {
        number: parent
        for number, one in enumerate(settled)
        if (one.delivery.entry.envelope.is_sampled or one.outcome.error is not None)
        and (parent := TraceContext.parse(one.delivery.entry.traceparent)) is not None
    }


def _vary(signature: Signature) -> bool:
    """Whether answers to requests of as many rows may differ in size."""
    first = 1 if signature.is_batchable else 0
    return any(spec.datatype == "BYTES" or -1 in spec.shape[first:] for spec in signature.outputs)


def _claimed(settled: Sequence[Settled]) -> int:
    """How often the request of a batch was delivered, if it was taken over from a dead process; else 0."""
    delivery = settled[0].delivery
    return delivery.attempt if len(settled) == 1 and delivery.is_suspect else 0
