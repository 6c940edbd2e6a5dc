"""The monitor's metrics, made from what it holds at the moment of a scrape. Names: docs/telemetry.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from services.monitor.adapters.objectives import Objectives
from services.monitor.analysis import Analysis
from services.monitor.domain import sketch
from services.monitor.domain.figures import Series
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Phase, Signal
from services.monitor.domain.probe_reports import ProbeOutcome

_FIRST_OCTAVE, _LAST_OCTAVE = 7, 29
"""Buckets from 16 µs to 69 s, each twice the one before; they are edges of the sketch, so counts are exact."""


class MonitorCollector(Collector):
    """Reads from the scraping thread what the event loop writes: whole arrays and copies of dictionaries only."""

    def __init__(
        self,
        analysis: Analysis,
        *,
        spans: Mapping[str, int],
        forwarded: Mapping[str, int],
        objectives: Objectives,
    ) -> None:
        """``spans`` and ``forwarded``: live counters of spans by result."""
        self._analysis = analysis
        self._spans = spans
        self._forwarded = forwarded
        self._objectives = objectives

    def collect(self) -> Iterator[Metric]:
        yield _counter("penstock_monitor_spans", "Spans that came in, by what became of them.", self._spans)
        yield _counter("penstock_monitor_forwarded_spans", "Spans that were to be forwarded.", self._forwarded)
        yield GaugeMetricFamily("penstock_monitor_series", "Model versions with figures.", len(self._analysis.figures))
        yield from self._figures()
        yield from self._promises()
        evidence = GaugeMetricFamily(
            "penstock_anomaly_log_evalue",
            "Evidence of each detector that its figure has risen, nats.",
            labels=("model", "version", "signal", "phase", "replica"),
        )
        for version, (signal, phase, replica), log_evalue in self._analysis.evidence():
            labels = [*version, signal, "" if phase is None else phase.label, replica]
            evidence.add_metric(labels, max(0.0, log_evalue))
        yield evidence
        omnibus = GaugeMetricFamily(
            "penstock_anomaly_omnibus_log_evalue",
            "Evidence of all detectors of a version together, nats.",
            labels=("model", "version"),
        )
        for version, log_evalue in self._analysis.omnibus():
            omnibus.add_metric(version, max(0.0, log_evalue))
        yield omnibus
        yield self._open_incidents()
        yield self._probes()

    def _figures(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "penstock_requests", "Requests by whose fault their end was.", labels=("model", "version", "outcome")
        )
        durations = HistogramMetricFamily(
            "penstock_phase_duration_seconds", "Durations by phase.", labels=("model", "version", "phase")
        )
        for series in self._analysis.figures.counted():
            outcomes = series.totals.outcomes
            for outcome in Outcome:
                requests.add_metric([series.model, series.version, outcome.label], int(outcomes[outcome]))
            counts, sums_ns = series.totals.counts, series.totals.sums_ns
            for phase in Phase:
                buckets = list(_buckets(series, phase, np.cumsum(counts[phase])))
                durations.add_metric([series.model, series.version, phase.label], buckets, float(sums_ns[phase]) / 1e9)
        yield requests
        yield durations

    def _promises(self) -> Iterator[Metric]:
        target = GaugeMetricFamily(
            "penstock_slo_target", "Share of requests that is promised.", labels=("model", "objective")
        )
        latency = GaugeMetricFamily("penstock_slo_latency_seconds", "Latency that is promised.", labels=("model",))
        slow = CounterMetricFamily(
            "penstock_slo_slow_requests",
            "Requests that took longer than promised.",
            labels=("model", "version", "threshold"),
        )
        for model, objective in self._objectives:
            if objective.availability:
                target.add_metric([model, "availability"], objective.availability)
            if objective.latency_s:
                target.add_metric([model, "latency"], objective.latency_share)
                latency.add_metric([model], objective.latency_s)
        for series in self._analysis.figures.counted():
            promised = self._objectives.get(series.model)
            if promised is not None and promised.latency_s:
                # What shares a bin with the promise counts as kept: at most 9 % above it.
                beyond = sketch.bin_of(promised.latency_s * 1e9) + 1
                threshold = f"{promised.latency_s:.10g}"
                count = int(series.totals.counts[Phase.TOTAL, beyond:].sum())
                slow.add_metric([series.model, series.version, threshold], count)
        yield from (target, latency, slow)

    def _probes(self) -> Metric:
        gauge = GaugeMetricFamily(
            "penstock_probe_replicas",
            "Replicas by what came of their last golden probe.",
            labels=("model", "version", "outcome"),
        )
        found = Counter(
            (state.report.model, state.report.version, state.outcome)
            for state in self._analysis.probes.states(model="")
        )
        for model, version in sorted({key[:2] for key in found}):
            for outcome in ProbeOutcome:
                gauge.add_metric([model, version, outcome], found[model, version, outcome])
        return gauge

    def _open_incidents(self) -> Metric:
        gauge = GaugeMetricFamily("penstock_incidents_open", "Open incidents.", labels=("model", "signal"))
        models = {series.model for series in self._analysis.figures}
        count = Counter((incident.model, incident.signal) for incident in self._analysis.incidents.open)
        for model in sorted(models | {model for model, _ in count}):
            for signal in Signal:
                gauge.add_metric([model, signal], count[model, signal])
        return gauge


def _counter(name: str, text: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=("result",))
    for result, value in dict(values).items():
        family.add_metric([result], value)
    return family


def _buckets(
    series: Series, phase: Phase, cumulative: NDArray[np.int64]
) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    for octave in range(_FIRST_OCTAVE, _LAST_OCTAVE + 1):
        edge = octave * sketch.BINS_PER_OCTAVE
        bound, value = floatToGoString(float(sketch.EDGES[edge]) / 1e9), int(cumulative[edge])
        if (found := series.exemplars.get((phase, octave))) is None:
            yield bound, value
        else:
            exemplar, second = found
            labels = {"trace_id": exemplar.trace_id.hex()}
            yield bound, value, Exemplar(labels, exemplar.duration_ns / 1e9, second)
    yield "+Inf", int(cumulative[-1])
