"""How well the monitor itself keeps up, as metrics. Names: docs/telemetry.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.monitor.adapters.outlet import Outlet
from services.monitor.domain.ring import TraceRing
from services.monitor.intake import Intake
from services.monitor.settings import MonitorSettings


class HealthCollector(Collector):
    """Reads single numbers that the event loop writes, from the scraping thread."""

    def __init__(
        self,
        settings: MonitorSettings,
        *,
        intake: Intake,
        ring: TraceRing,
        outlets: Sequence[Outlet],
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._ring = ring
        self._outlets = outlets

    def collect(self) -> Iterator[Metric]:
        settings = self._settings
        mebibytes = 1 << 20
        for name, text, value in (
            ("penstock_monitor_lag_seconds", "How long spans wait to be analysed.", self._intake.lag_s),
            ("penstock_monitor_queue_spans", "Spans that wait to be analysed.", self._intake.waiting_spans),
            ("penstock_monitor_queue_limit_spans", "Most that may wait.", settings.intake_max_spans),
            ("penstock_monitor_queue_bytes", "Memory of spans that wait.", self._intake.waiting_bytes),
            ("penstock_monitor_queue_limit_bytes", "Most memory.", settings.intake_max_mebibytes * mebibytes),
            ("penstock_monitor_ring_spans", "Spans kept in the ring of recent traces.", self._ring.span_count),
            ("penstock_monitor_ring_limit_spans", "Most that are kept.", settings.ring_max_spans),
            ("penstock_monitor_ring_bytes", "Memory of the ring.", self._ring.size_bytes),
            ("penstock_monitor_ring_limit_bytes", "Most memory.", settings.ring_max_mebibytes * mebibytes),
            ("penstock_monitor_series_limit", "Most model versions with figures.", settings.max_series),
            (
                "penstock_monitor_false_alarms_per_week",
                "False alarms that all detectors together may raise in a week.",
                settings.false_alarms_per_week,
            ),
        ):
            yield GaugeMetricFamily(name, text, float(value))
        yield from self._of_outlets()

    def _of_outlets(self) -> Iterator[Metric]:
        labels = ("receiver", "address")
        told = CounterMetricFamily(
            "penstock_monitor_notifications", "How often others were told of an incident.", labels=(*labels, "result")
        )
        pending = GaugeMetricFamily(
            "penstock_monitor_notifications_pending", "Changes that a receiver wasn't told of yet.", labels=labels
        )
        is_up = GaugeMetricFamily(
            "penstock_monitor_receiver_up", "Whether the last attempt to tell a receiver succeeded.", labels=labels
        )
        for outlet in self._outlets:
            receiver = outlet.receiver
            where = [receiver.kind, receiver.address]
            for result, value in dict(receiver.results).items():
                told.add_metric([*where, result], value)
            pending.add_metric(where, len(receiver))
            is_up.add_metric(where, outlet.is_up)
        yield from (told, pending, is_up)
