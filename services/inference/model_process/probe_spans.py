"""What is told of probes: a span of its own for each."""

from __future__ import annotations

from collections.abc import Callable

from services.common.span_encoding import AttributeValue
from services.common.tracing import SpanExporter, SpanKind, TraceContext
from services.inference.model_process.golden_probe import Outcome, ProbeResult

_MOST_TEXT = 200


class ProbeSpans:
    """``weights`` gives the digest of the files that were loaded once it is known, ``expected`` is the registry's."""

    def __init__(self, exporter: SpanExporter, *, model: str, constants: bytes) -> None:
        """``constants`` are encoded attributes of all its spans."""
        self._exporter = exporter
        self._name = f"probe {model}"
        self._constants = constants
        self.weights: Callable[[], str] = str
        self.expected = ""

    def export(self, result: ProbeResult, start_ns: int, end_ns: int) -> None:
        """Send a probe's span; times are Unix ns."""
        if not self._exporter.is_enabled:
            return
        is_bad = result.outcome in (Outcome.FAIL, Outcome.ERROR)
        self._exporter.export(
            self._name,
            TraceContext.new_root(is_sampled=True),
            kind=SpanKind.INTERNAL,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=self._attributes(result),
            more=self._constants,
            error=result.detail if is_bad else None,
        )

    def _attributes(self, result: ProbeResult) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {
            "penstock.probe": True,
            "penstock.probe.outcome": str(result.outcome),
            "penstock.probe.worst_error": result.worst_error,
        }
        texts = {
            "penstock.probe.output": result.output,
            "penstock.probe.detail": result.detail,
            "penstock.weights.sha256": self.weights(),
            "penstock.weights.expected_sha256": self.expected,
        }
        attributes |= {name: _plain(text) for name, text in texts.items() if text}
        if result.outcome is Outcome.FAIL:
            attributes["error.type"] = "PROBE_FAILED"
        elif result.outcome is Outcome.ERROR:
            attributes["error.type"] = "MODEL_ERROR"
        if result.answer is not None:
            attributes |= {
                "penstock.probe.exact_sha256": result.answer.exact,
                "penstock.probe.values": result.answer.values.astype("<f8").tobytes(),
                "penstock.probe.slack": result.answer.slack.astype("<f8").tobytes(),
            }
        return attributes


def _plain(text: str) -> str:
    """What the monitor takes: short and printable."""
    return "".join(one if one.isprintable() else " " for one in text[:_MOST_TEXT])
