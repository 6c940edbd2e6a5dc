"""What is told of probes: a span of its own for each."""

from __future__ import annotations

from services.common.span_encoding import AttributeValue
from services.common.tracing import SpanExporter, SpanKind, TraceContext
from services.inference.model_process.golden_probe import Outcome, ProbeResult
from services.inference.model_process.weights_digest import WeightsDigest

_MOST_TEXT = 200
_ERROR_TYPES = {Outcome.FAIL: "PROBE_FAILED", Outcome.ERROR: "MODEL_ERROR"}


class ProbeSpans:
    """``weights`` are told with each, once they are known."""

    def __init__(
        self, exporter: SpanExporter, *, model: str, constants: bytes, weights: WeightsDigest | None = None
    ) -> None:
        """``constants`` are encoded attributes of all its spans."""
        self._exporter = exporter
        self._name = f"probe {model}"
        self._constants = constants
        self._weights = weights

    def export(self, result: ProbeResult, start_ns: int, end_ns: int) -> None:
        """Send a probe's span; times are Unix ns."""
        self._exporter.export(
            self._name,
            TraceContext.new_root(is_sampled=True),
            kind=SpanKind.INTERNAL,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=self._attributes(result),
            more=self._constants,
            error=result.detail if result.outcome in _ERROR_TYPES else None,
        )

    def _attributes(self, result: ProbeResult) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {
            "penstock.probe.outcome": str(result.outcome),
            "penstock.probe.worst_error": result.worst_error,
        }
        if result.outcome in _ERROR_TYPES:
            # Traces with it go on to where people look at them; of those that passed nobody wants to see any.
            attributes |= {"penstock.probe": True, "error.type": _ERROR_TYPES[result.outcome]}
        texts = {"penstock.probe.output": result.output, "penstock.probe.detail": result.detail}
        if self._weights is not None:
            texts["penstock.weights.sha256"] = self._weights.value
            texts["penstock.weights.expected_sha256"] = self._weights.expected
        attributes |= {name: _plain(text) for name, text in texts.items() if text}
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
