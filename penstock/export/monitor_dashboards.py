"""Dashboards of what the monitor alone knows: its own health, and services of other makes."""

from __future__ import annotations

from penstock.export.panels import Dashboard, Query, graph, number, states
from penstock.export.promql import RATE, failed, quantile, rate

_MONITOR = 'job="penstock-monitor"'
_CALLS = "penstock_service_requests_total"
_DURATIONS = "penstock_service_duration_seconds"
_NONE = "or on () vector(0)"
"""For panels that are empty where nobody sends such spans."""

MONITOR = Dashboard(
    "penstock-monitor",
    "Penstock: the monitor",
    "Whether the monitor sees everything, keeps up, and is heard.",
    (
        states("Monitor", f"up{{{_MONITOR}}}", "{{instance}}", width=4),
        number("Lag", "max(penstock_monitor_lag_seconds)", unit="s"),
        number("False alarms a week, as declared", "max(penstock_monitor_false_alarms_per_week)"),
        number("Spans dropped or refused", 'sum(penstock_monitor_spans_total{result=~"dropped|refused"})'),
        states("Told of incidents", "penstock_monitor_receiver_up", "{{receiver}} {{address}}"),
        graph("Spans", Query(rate("penstock_monitor_spans_total", by="result"), "{{result}}"), unit="ops"),
        graph(
            "Spans lost before they came",
            Query(f'sum(rate(penstock_gateway_spans_total{{result="dropped"}}[{RATE}]))', "gateways"),
            Query(f'sum(rate(penstock_instance_spans_total{{result="dropped"}}[{RATE}]))', "model processes"),
            unit="ops",
        ),
        graph(
            "Spans forwarded",
            Query(rate("penstock_monitor_forwarded_spans_total", by="result"), "{{result}}"),
            unit="ops",
        ),
        graph(
            "Queue",
            Query("penstock_monitor_queue_spans / penstock_monitor_queue_limit_spans", "spans"),
            Query("penstock_monitor_queue_bytes / penstock_monitor_queue_limit_bytes", "bytes"),
            unit="percentunit",
            text="Share of what may wait; when it is full spans are refused.",
        ),
        graph("Lag", Query("penstock_monitor_lag_seconds", "{{instance}}"), unit="s"),
        graph(
            "Irregular spans",
            Query(rate("penstock_monitor_irregular_spans_total", by="kind"), "{{kind}}"),
            unit="ops",
            text="Late, of another time, doubled, or without the span that they belong to.",
        ),
        graph(
            "Traces",
            Query(rate("penstock_monitor_traces_total", by="reason"), "{{reason}}"),
            unit="ops",
            text="By why they were forwarded, or were not: none, capped, lost.",
        ),
        graph("Series", Query("penstock_monitor_series", "series"), Query("penstock_monitor_series_limit", "limit")),
        graph(
            "Ring of recent traces",
            Query("penstock_monitor_ring_spans / penstock_monitor_ring_limit_spans", "spans"),
            Query("penstock_monitor_ring_bytes / penstock_monitor_ring_limit_bytes", "bytes"),
            unit="percentunit",
        ),
        graph("Memory", Query(f"process_resident_memory_bytes{{{_MONITOR}}}", "{{instance}}"), unit="bytes"),
        graph(
            "Processor",
            Query(f"rate(process_cpu_seconds_total{{{_MONITOR}}}[{RATE}])", "{{instance}}"),
            unit="percentunit",
        ),
        graph(
            "Told of incidents",
            Query("sum by (receiver, result) (penstock_monitor_notifications_total)", "{{receiver}} {{result}}"),
            Query("sum by (receiver) (penstock_monitor_notifications_pending)", "{{receiver}} pending"),
        ),
        graph("Open incidents", Query("sum by (signal) (penstock_incidents_open)", "{{signal}}")),
        graph("Strongest evidence", Query("max by (signal) (penstock_anomaly_log_evalue)", "{{signal}}")),
    ),
)

SERVICES = Dashboard(
    "penstock-services",
    "Penstock: services of other makes",
    "What programs do that send their spans to the monitor, and are no part of the suite.",
    (
        graph("Calls", Query(f"{rate(_CALLS, by='service')} {_NONE}", "{{service}}"), unit="reqps"),
        graph(
            "Failed by the service's fault",
            Query(f"{failed(by='service', metric=_CALLS)} {_NONE}", "{{service}}"),
            unit="percentunit",
        ),
        graph(
            "Duration, p99",
            Query(f"{quantile(0.99, _DURATIONS, '', by='service')} {_NONE}", "{{service}}"),
            unit="s",
        ),
        graph(
            "Busiest operations",
            Query(f"topk(10, {rate(_CALLS, by='service, operation')}) {_NONE}", "{{service}} {{operation}}"),
            unit="reqps",
        ),
        graph(
            "Slowest operations, p99",
            Query(
                f"topk(10, {quantile(0.99, _DURATIONS, '', by='service, operation')}) {_NONE}",
                "{{service}} {{operation}}",
            ),
            unit="s",
        ),
        graph(
            "Evidence of the detectors",
            Query(f"max by (service, signal) (penstock_service_anomaly_log_evalue) {_NONE}", "{{service}} {{signal}}"),
            text="Logarithm of the e-value, nats; an incident is opened where it crosses its threshold.",
        ),
        graph(
            "Open incidents",
            Query(f"sum by (service, signal) (penstock_service_incidents_open) {_NONE}", "{{service}} {{signal}}"),
        ),
        graph("Series", Query("penstock_monitor_service_series", "operations by replica")),
    ),
)
