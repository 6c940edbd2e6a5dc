"""Figures and spans of a model process, by the names in docs/telemetry.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from services.common.errors import PenstockError
from services.common.span_encoding import encode_attributes
from services.common.tracing import AttributeValue, SpanExporter, SpanKind, TraceContext
from services.inference.domain.signature import Signature
from services.inference.model_process.batch_columns import BatchColumns, are_sampled, trace_contexts
from services.inference.model_process.golden_probe import ProbeResult
from services.inference.model_process.input_sketch import InputSketcher
from services.inference.model_process.probe_spans import ProbeSpans
from services.inference.model_process.pulse import Pulse
from services.inference.model_process.statistics import Answers
from services.inference.model_process.worker import POISON_MESSAGE, BatchReport, Settled

_MOST_LINKS = 128
_QUICK_NS = 10_000_000
_GATHER_S = 1.0
_MOST_REQUESTS = 32_768
"""Quick batches share a span: those that end within this time, up to so many requests."""
_MOST_RECENT, _MOST_RECENT_BYTES = 16, 16 * 1024
"""Batches, and bytes of their requests, that are kept for a moment to be gathered together: a processor that has just
done a batch's work has to fetch the code that gathers, but only once for several."""


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
    """Counts batches, and makes batch spans, and spans of sampled and failed requests.

    Quick batches in a row, of which nothing but figures is to be told, share a span: one for each would cost a process
    that runs a thousand batches a second, and the monitor, a twentieth of their time. ``later`` is an event loop's
    ``call_later``; :meth:`stop` at the end.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        model: str,
        version: str,
        device: str,
        later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        signature: Signature,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._exporter = exporter
        self._later = later
        self._recent: list[BatchReport] = []
        self._recent_bytes = 0
        self._quick: BatchColumns | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._model = model
        self._common: dict[str, AttributeValue] = {
            "messaging.system": "redis",
            "messaging.operation.type": "process",
            "penstock.model.name": model,
            "penstock.model.version": version,
        }
        self._batch_name = f"batch {model}"
        self._sketcher = InputSketcher(signature)
        self._has_lengths = signature.is_decoupled or _vary(signature)
        constants = {"penstock.compute.device": device, "penstock.inputs.kind": self._sketcher.kind}
        self._pulse = Pulse(
            exporter, model=model, constants=encode_attributes(self._common), later=later, now_ns=now_ns
        )
        self.probes = ProbeSpans(
            exporter, model=model, constants=encode_attributes(self._common | {"penstock.compute.device": device})
        )
        self._batch_constants = encode_attributes({**self._common, **constants})
        self.figures = Figures()
        self.news = asyncio.Event()
        """Set whenever the figures change."""

    def batch_began(self, requests: int, start_ns: int) -> None:
        """A batch was given to the model; while it runs for long, a span says so every second."""
        self._pulse.batch_began(requests, start_ns)

    def probe_began(self, start_ns: int) -> None:
        """A probe that doesn't end is told of as a batch is."""
        self._pulse.batch_began(0, start_ns)

    def probe_ended(self, result: ProbeResult | None, start_ns: int, end_ns: int) -> None:
        self._pulse.batch_ended(start_ns)
        if result is not None:
            self.probes.export(result, start_ns, end_ns)

    def stop(self) -> None:
        """Export what was gathered, and say that nothing will follow."""
        self.flush()
        self._pulse.stop()

    def batch_ended(self, report: BatchReport) -> None:
        figures, settled = self.figures, report.settled
        self._pulse.batch_ended(report.start_ns)
        failed = sum([one.error is not None for one in report.execution.outcomes])
        self.news.set()
        figures.executions += 1
        figures.rows += report.rows
        figures.errors += failed
        is_claimed = len(settled) == 1 and settled[0].delivery.is_suspect  # it shares its batch with nobody
        figures.claimed += is_claimed
        if not self._exporter.is_enabled:
            return
        if failed or is_claimed or report.end_ns - report.start_ns >= _QUICK_NS:
            self._export_alone(report, _parents(settled), failed=failed)
            return
        if self._timer is None:
            self._timer = self._later(_GATHER_S, self.flush)
        self._recent.append(report)
        self._recent_bytes += sum([len(one.delivery.entry.request) for one in settled])
        if isinstance(answers := report.execution.answers, Answers):
            self._recent_bytes += answers.size_bytes
        if len(self._recent) >= _MOST_RECENT or self._recent_bytes >= _MOST_RECENT_BYTES:
            self._work_off()

    def flush(self) -> None:
        """Export what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._work_off()
        self._export_quick()

    def _work_off(self) -> None:
        """Export recent batches that have sampled requests, and gather the others."""
        recent, self._recent, self._recent_bytes = self._recent, [], 0
        settled = _requests(recent)
        contexts = trace_contexts(settled)
        if are_sampled(contexts):
            recent = [report for report in recent if not self._is_exported(report)]
            settled = _requests(recent)
            contexts = trace_contexts(settled)
        if recent:
            self._gather(recent, settled, contexts)

    def _is_exported(self, report: BatchReport) -> bool:
        """Whether some of a batch's requests are sampled, so that it is exported by itself."""
        parents = _parents(report.settled)
        if parents:
            self._export_alone(report, parents)
        return bool(parents)

    def _gather(self, reports: Sequence[BatchReport], settled: Sequence[Settled], contexts: bytes) -> None:
        quick, lengths = self._quick, self._lengths(settled)
        if quick is not None and len(quick) < _MOST_REQUESTS:
            quick.add(reports, settled, contexts, lengths=lengths)
            return
        self._export_quick()
        self._quick = BatchColumns(reports, settled, contexts, sketcher=self._sketcher, lengths=lengths)

    def _lengths(self, settled: Sequence[Settled]) -> list[int]:
        """Bytes of each answer, where they differ."""
        if not self._has_lengths:
            return []
        return [one.outcome.sent_bytes or len(one.outcome.response) for one in settled]

    def _export_quick(self) -> None:
        quick, self._quick = self._quick, None
        if quick is not None:
            self._export(quick)

    def refused(self, settled: Sequence[Settled]) -> None:
        self.news.set()
        self.figures.errors += len(settled)
        for one in settled:
            self.figures.claimed += one.delivery.is_suspect
            self.figures.dead_letters += one.outcome.error is not None and one.outcome.error.reason == POISON_MESSAGE

    def _export_alone(self, report: BatchReport, parents: Mapping[int, TraceContext], *, failed: int = 0) -> None:
        """A batch span for one batch, and the spans of its requests that have their own."""
        settled = report.settled
        sampled = [parents[number] for number in parents if settled[number].delivery.entry.envelope.is_sampled]
        error = None
        if failed == len(settled):
            error = next(one.outcome.error for one in settled if one.outcome.error is not None)
        columns = BatchColumns(
            [report],
            settled,
            trace_contexts(settled),
            sketcher=self._sketcher,
            failed=failed,
            lengths=self._lengths(settled),
        )
        self._export(columns, links=sampled[:_MOST_LINKS], error=error, claimed=_claimed(settled))
        for number, parent in parents.items():
            self._export_request(settled[number], parent, report)

    def _export(
        self,
        columns: BatchColumns,
        *,
        links: Sequence[TraceContext] = (),
        error: PenstockError | None = None,
        claimed: int = 0,
    ) -> None:
        """``claimed`` is how often the request was delivered, if it was taken over from a dead process."""
        attributes = columns.attributes()
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
            more=self._batch_constants,
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


def _vary(signature: Signature) -> bool:
    """Whether answers to requests of as many rows may differ in size."""
    first = 1 if signature.is_batchable else 0
    return any(spec.datatype == "BYTES" or -1 in spec.shape[first:] for spec in signature.outputs)


def _claimed(settled: Sequence[Settled]) -> int:
    """How often the request of a batch was delivered, if it was taken over from a dead process; else 0."""
    delivery = settled[0].delivery
    return delivery.attempt if len(settled) == 1 and delivery.is_suspect else 0


def _requests(reports: Sequence[BatchReport]) -> list[Settled]:
    return [one for report in reports for one in report.settled]


def _parents(settled: Sequence[Settled]) -> dict[int, TraceContext]:
    """The PRODUCER spans of the requests that get spans of their own, by their place in the batch."""
    return {
        number: parent
        for number, one in enumerate(settled)
        if (one.delivery.entry.envelope.is_sampled or one.outcome.error is not None)
        and (parent := TraceContext.parse(one.delivery.entry.traceparent)) is not None
    }
