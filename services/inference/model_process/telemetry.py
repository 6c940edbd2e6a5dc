"""Figures and spans of a model process, by the names in docs/telemetry.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from services.common.span_encoding import encode_attributes
from services.common.tracing import AttributeValue, SpanExporter
from services.inference.domain.signature import Signature
from services.inference.domain.sketching import SketchInputs
from services.inference.model_process.batch_columns import BatchColumns, are_sampled, arm_of, trace_contexts
from services.inference.model_process.batch_spans import BatchSpans, parents_of
from services.inference.model_process.golden_probe import ProbeResult
from services.inference.model_process.input_sketch import InputSketcher
from services.inference.model_process.predictions import Predictions
from services.inference.model_process.probe_spans import ProbeSpans
from services.inference.model_process.pulse import Pulse
from services.inference.model_process.thinning import Thinning
from services.inference.model_process.weights_digest import WeightsDigest
from services.inference.model_process.worker import POISON_MESSAGE, BatchReport, Settled

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
    that runs a thousand batches a second, and the monitor, a twentieth of their time. Where they are many, most are
    only counted. ``later`` is an event loop's ``call_later``; :meth:`stop` at the end.
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
        sketch_inputs: SketchInputs = "all",
        weights: WeightsDigest | None = None,
        tells_predictions: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``weights`` are what probes tell of the files that were loaded.

        ``tells_predictions``: what was answered to whom is told, for labels that come later.
        """
        self._exporter = exporter
        self._later = later
        self._recent: list[BatchReport] = []
        self._recent_bytes = 0
        self._quick: BatchColumns | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thinning = Thinning()
        common: dict[str, AttributeValue] = {
            "messaging.system": "redis",
            "messaging.operation.type": "process",
            "penstock.model.name": model,
            "penstock.model.version": version,
        }
        self._spans = BatchSpans(
            exporter,
            model=model,
            common=common,
            device=device,
            signature=signature,
            sketcher=InputSketcher(signature, wanted=sketch_inputs),
            thinning=self._thinning,
        )
        self._pulse = Pulse(exporter, model=model, constants=encode_attributes(common), later=later, now_ns=now_ns)
        self._probes = ProbeSpans(
            exporter,
            model=model,
            constants=encode_attributes(common | {"penstock.compute.device": device}),
            weights=weights,
        )
        self._predictions: Predictions | None = None
        if tells_predictions and exporter.is_enabled:
            self._predictions = Predictions(exporter, model=model, constants=encode_attributes(common), later=later)
        self.batch_began = self._pulse.batch_began
        """A batch was given to the model; while it runs for long, a span says so every second."""
        self.figures = Figures()
        self.news = asyncio.Event()
        """Set whenever the figures change."""

    def probe_began(self, start_ns: int) -> None:
        """A probe that doesn't end is told of as a batch is."""
        self._pulse.batch_began(0, start_ns)

    def probe_ended(self, result: ProbeResult, start_ns: int, end_ns: int) -> None:
        self._pulse.batch_ended(start_ns)
        self._probes.export(result, start_ns, end_ns)

    def stop(self) -> None:
        """Export what was gathered, and say that nothing will follow."""
        self.flush()
        if self._predictions is not None:
            self._predictions.flush()
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
        if self._predictions is not None:
            self._predictions.add(report)
        if failed or is_claimed or report.end_ns - report.start_ns >= _QUICK_NS:
            is_extra = not self._thinning.chooses_other()
            self._spans.export_alone(report, parents_of(settled), failed=failed, is_extra=is_extra)
            return
        if self._timer is None:
            self._timer = self._later(_GATHER_S, self.flush)
        is_first = self._quick is None and not self._recent  # there has to be a span that tells how many were skipped
        if not self._thinning.chooses_quick(len(settled)) and not is_first:
            envelopes = [one.delivery.entry.envelope for one in settled]
            if sum([one.is_sampled for one in envelopes]) or sum([one.is_abandoned for one in settled]):
                self._spans.export_alone(report, parents_of(settled), is_extra=True)
            else:
                self._thinning.skip(report, drawn=sum([one.is_drawn for one in envelopes]))
            return
        self._recent.append(report)
        self._recent_bytes += sum([len(one.delivery.entry.request) for one in settled])
        answers = report.execution.answers
        if isinstance(answers, tuple):
            self._recent_bytes += report.rows * answers[0].row_bytes
        if len(self._recent) >= _MOST_RECENT or self._recent_bytes >= _MOST_RECENT_BYTES:
            self._work_off()

    def refused(self, settled: Sequence[Settled]) -> None:
        self.news.set()
        self.figures.errors += len(settled)
        for one in settled:
            self.figures.claimed += one.delivery.is_suspect
            self.figures.dead_letters += one.outcome.error is not None and one.outcome.error.reason == POISON_MESSAGE

    def flush(self) -> None:
        """Export what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._work_off()
        self._export_quick()
        self._thinning.period_is_over()

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
        parents = parents_of(report.settled)
        if parents:
            self._spans.export_alone(report, parents)
        return bool(parents)

    def _gather(self, reports: Sequence[BatchReport], settled: Sequence[Settled], contexts: bytes) -> None:
        quick = self._quick
        if quick is not None and len(quick) < _MOST_REQUESTS and quick.arm == arm_of(settled):
            quick.add(reports, settled, contexts)
            return
        self._export_quick()
        self._quick = self._spans.columns(reports, settled, contexts)

    def _export_quick(self) -> None:
        quick, self._quick = self._quick, None
        if quick is not None:
            self._spans.export(quick)


def _requests(reports: Sequence[BatchReport]) -> list[Settled]:
    return [one for report in reports for one in report.settled]
