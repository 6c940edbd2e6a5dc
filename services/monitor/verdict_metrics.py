"""Metrics of the comparisons under way, and of those that ended of late. Names: docs/telemetry.md."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.monitor.domain.verdict.decision import Decision
from services.monitor.verdict_keeper import VerdictKeeper

_VERSIONS = ("model", "candidate", "baseline")


class VerdictCollector(Collector):
    """Reads from the scraping thread what the event loop writes: whole values only."""

    def __init__(self, keeper: VerdictKeeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        verdict = GaugeMetricFamily(
            "penstock_verdict", "1 for the decision that stands, else 0.", labels=(*_VERSIONS, "decision")
        )
        evidence = GaugeMetricFamily(
            "penstock_verdict_evidence_ratio",
            "Evidence of harm and of safety by guardrail, over what decides, both in nats.",
            labels=(*_VERSIONS, "guardrail", "test"),
        )
        # Of several that ask the same, the one that was begun last: series must differ.
        newest = {(one.question.model, one.question.candidate, one.question.baseline): one for one in self._keeper}
        for versions, comparison in newest.items():
            ruling, labels = comparison.ruling, list(versions)
            for decision in Decision:
                verdict.add_metric([*labels, decision], float(ruling.decision is decision))
            for one in comparison.standings:
                key = one.guardrail.key
                evidence.add_metric([*labels, key, "harm"], one.harm_log_evalue / one.harm_needed)
                evidence.add_metric([*labels, key, "safety"], max(0.0, one.safety_log_evalue) / one.safety_needed)
        yield verdict
        yield evidence
