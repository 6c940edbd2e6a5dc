"""Prometheus metrics of what came in beside models' spans: irregular spans, foreign services, traces sent on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from services.monitor.arrivals import Arrivals
from services.monitor.domain import sketch
from services.monitor.domain.foreign_series import Tally
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Signal

_FIRST_OCTAVE, _LAST_OCTAVE = 12, 30
"""Buckets from 0.5 ms to 137 s, each twice as long as the one before."""
_LABELS = ("service", "operation", "replica")


class IntakeCollector(Collector):
    """Reads from the scraping thread what the event loop writes: copies of dictionaries only."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def collect(self) -> Iterator[Metric]:
        punctuality, tail = self._arrivals.punctuality, self._arrivals.tail
        irregular = CounterMetricFamily(
            "penstock_monitor_irregular_spans", "Spans by what is irregular about them.", labels=("kind",)
        )
        for kind, value in punctuality.irregular.copy().items():
            irregular.add_metric([kind], value)
        yield irregular
        traces = CounterMetricFamily(
            "penstock_monitor_traces", "Traces by why they were forwarded, or not.", labels=("reason",)
        )
        for reason, value in tail.results.copy().items():
            traces.add_metric([reason], value)
        yield traces
        for name, text, number in (
            ("penstock_monitor_watermark_seconds", "Unix time up to which seconds are judged.",
             punctuality.watermark_ns / 1e9),
            ("penstock_monitor_waiting_parents", "Parents that are still to come.", len(punctuality)),
            ("penstock_monitor_waiting_traces", "Traces of which is to be decided whether to forward them.", len(tail)),
            ("penstock_monitor_service_series", "Operations of foreign services, by replica, with figures.",
             len(self._arrivals.services)),
        ):  # fmt: skip
            yield GaugeMetricFamily(name, text, number)
        yield from self._services()

    def _services(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "penstock_service_requests",
            "Calls of foreign services by whose fault their end was.",
            labels=(*_LABELS, "outcome"),
        )
        durations = HistogramMetricFamily(
            "penstock_service_duration_seconds", "Durations of calls of foreign services.", labels=_LABELS
        )
        evidence = GaugeMetricFamily(
            "penstock_service_anomaly_log_evalue",
            "Evidence of each detector that its figure has risen, nats.",
            labels=(*_LABELS, "signal"),
        )
        for key, tally in self._arrivals.services.totals().items():
            for outcome in Outcome:
                requests.add_metric([*key, outcome.label], tally.outcomes[outcome])
            durations.add_metric([*key], _buckets(tally), tally.sum_ns / 1e9)
        for key, series in self._arrivals.services:
            for signal, stream in series.streams.items():
                evidence.add_metric([*key, signal], max(0.0, stream.log_evalue))
        yield requests
        yield durations
        yield evidence
        yield self._open_incidents()

    def _open_incidents(self) -> Metric:
        gauge = GaugeMetricFamily(
            "penstock_service_incidents_open", "Open incidents of foreign services.", labels=("service", "signal")
        )
        services = {key.service for key, _ in self._arrivals.services}
        count = Counter((one.model.partition("/")[2], one.signal) for one in self._arrivals.incidents.open)
        for service in sorted(services | {service for service, _ in count}):
            for signal in (Signal.ERROR_RATE, Signal.LATENCY):
                gauge.add_metric([service, signal], count[service, signal])
        return gauge


def _buckets(tally: Tally) -> list[tuple[str, float]]:
    cumulative = np.cumsum(tally.counts)
    edges = [octave * sketch.BINS_PER_OCTAVE for octave in range(_FIRST_OCTAVE, _LAST_OCTAVE + 1)]
    bounds = [(floatToGoString(float(sketch.EDGES[edge]) / 1e9), int(cumulative[edge])) for edge in edges]
    return [*bounds, ("+Inf", int(cumulative[-1]))]
