"""The dashboards: the fleet, one model, a rollout, an incident; beside them those of the monitor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from penstock.export.monitor_dashboards import MONITOR, SERVICES
from penstock.export.panels import Dashboard, Panel, Query, alerts, graph, number, rendered, states
from penstock.export.promql import failed, mean, quantile, rate, selector
from penstock.export.slo_rules import BUDGET, RATIO

_ONE = 'model=~"$model",version=~"$version"'
_MODEL = 'model=~"$model"'
_VARIABLES = {
    "model": "label_values(penstock_instance_ready, model)",
    "version": f"label_values(penstock_instance_ready{{{_MODEL}}}, version)",
}
_PHASES = "penstock_phase_duration_seconds"
_VERSION = "version {{version}}"


def _phase(level: float, phase: str, *, matchers: str = _ONE, by: str = "version") -> str:
    return quantile(level, _PHASES, selector(matchers, f'phase="{phase}"'), by=by)


def _evidence(by: str, legend: str, *, width: int = 8) -> Panel:
    return graph(
        "Evidence of the detectors",
        Query(f"max by ({by}) (penstock_anomaly_log_evalue{{{_ONE}}})", legend),
        width=width,
        text="Logarithm of the e-value, nats; an incident is opened where it crosses its threshold.",
    )


_REQUESTS = graph("Requests", Query(rate("penstock_requests_total", _ONE, by="outcome"), "{{outcome}}"), unit="reqps")
_FAILED = graph("Failed by the server's fault", Query(failed(_ONE, by="version"), _VERSION), unit="percentunit")
_READY = graph("Processes ready", Query(f"sum by (version) (penstock_instance_ready{{{_ONE}}})", _VERSION))
_BATCHES = graph(
    "Batches", Query(rate("penstock_instance_executions_total", _ONE, by="instance"), "{{instance}}"), unit="ops"
)
_ROWS = graph("Rows in a batch", Query(mean("penstock_batch_rows", _ONE, by="version"), _VERSION))

FLEET = Dashboard(
    "penstock-fleet",
    "Penstock: fleet",
    "All models, and whether the suite is well.",
    (
        number("Requests", "sum(rate(penstock_requests_total[1m]))", unit="reqps"),
        number("Models", "count(count by (model) (penstock_instance_ready))"),
        number("Processes ready", "sum(penstock_instance_ready)"),
        number("Open incidents", "sum(penstock_incidents_open)"),
        states("Services", 'up{job=~"penstock-.*"}', "{{job}}"),
        graph("Requests", Query(rate("penstock_requests_total", by="model"), "{{model}}"), unit="reqps"),
        graph("Failed by the server's fault", Query(failed(by="model"), "{{model}}"), unit="percentunit"),
        graph("Latency, p99", Query(_phase(0.99, "total", matchers="", by="model"), "{{model}}"), unit="s"),
        graph("Incidents", Query("sum by (model, signal) (penstock_incidents_open)", "{{model}} {{signal}}")),
        graph("Error budget left", Query(BUDGET, "{{model}} {{objective}}"), unit="percentunit"),
        graph("Waiting or running", Query("sum by (model) (nv_inference_pending_request_count)", "{{model}}")),
        graph(
            "Refused",
            Query(
                f"{rate('penstock_gateway_refusals_total', by='model, reason')} or vector(0)", "{{model}} {{reason}}"
            ),
            unit="reqps",
        ),
        graph(
            "Estimated wait", Query("max by (model) (penstock_gateway_estimated_wait_seconds)", "{{model}}"), unit="s"
        ),
        graph("Processes ready", Query("sum by (model) (penstock_instance_ready)", "{{model}}")),
        graph("Memory", Query("sum by (model) (penstock_instance_resident_bytes)", "{{model}}"), unit="bytes"),
        graph("Starts of crashed processes", Query("sum by (model) (penstock_instance_restarts_total)", "{{model}}")),
        states("Redis", "penstock_gateway_redis_up", "{{instance}}", width=4),
        number("Registries that write", "sum(penstock_registry_writer)"),
        alerts("Alerts"),
    ),
)

MODEL = Dashboard(
    "penstock-model",
    "Penstock: model",
    "One model: what it does, how long it takes and what it promises.",
    (
        _REQUESTS,
        _FAILED,
        graph(
            "Latency",
            *(
                Query(_phase(level, "total", by="model"), f"p{level * 100:g}", has_exemplars=level > 0.9)
                for level in (0.5, 0.9, 0.99)
            ),
            unit="s",
            text="From enqueueing until the reply was built. Dots are traces.",
        ),
        graph("Phases, p99", Query(quantile(0.99, _PHASES, _ONE, by="phase"), "{{phase}}"), unit="s"),
        graph("Phases, mean", Query(mean(_PHASES, _ONE, by="phase"), "{{phase}}"), unit="s"),
        graph(
            "Seen by the gateway, p99",
            Query(quantile(0.99, "penstock_request_duration_seconds", _ONE, by="version"), _VERSION),
            unit="s",
        ),
        graph(
            "Burn of the error budget",
            Query(f"{RATIO}5m{{{_MODEL}}}", "{{objective}}, 5 min"),
            Query(f"{RATIO}1h{{{_MODEL}}}", "{{objective}}, 1 h"),
            unit="percentunit",
            text="Share of requests that broke the promise, of an objective over 30 days.",
        ),
        graph(
            "What may break the promise",
            Query(f"1 - penstock_slo_target{{{_MODEL}}}", "{{objective}}"),
            unit="percentunit",
        ),
        graph("Error budget left", Query(f"{BUDGET}{{{_MODEL}}}", "{{objective}}"), unit="percentunit"),
        _evidence("signal, phase, version", "{{signal}} {{phase}} {{version}}"),
        graph(
            "Evidence of all detectors together",
            Query(f"max by (version) (penstock_anomaly_omnibus_log_evalue{{{_ONE}}})", _VERSION),
            text="Logarithm of the average of their evidence, nats; what is in alarm begins anew.",
        ),
        graph(
            "Golden probes",
            Query(f"sum by (version, outcome) (penstock_probe_replicas{{{_ONE}}})", "version {{version}} {{outcome}}"),
            text="Replicas by what came of their last request with a known answer.",
        ),
        _ROWS,
        graph("Waiting or running", Query(f"nv_inference_pending_request_count{{{_ONE}}}", _VERSION)),
        _READY,
        graph("Memory", Query(f"penstock_instance_resident_bytes{{{_ONE}}}", "{{instance}}"), unit="bytes"),
        _BATCHES,
    ),
    variables=_VARIABLES,
)

ROLLOUT = Dashboard(
    "penstock-rollout",
    "Penstock: rollout",
    "Versions of one model beside each other.",
    (
        graph(
            "Share of requests",
            Query(
                f"{rate('penstock_requests_total', _ONE, by='version')}\n"
                f"/ ignoring (version) group_left () ({rate('penstock_requests_total', _ONE, by='')} > 0)",
                _VERSION,
            ),
            unit="percentunit",
        ),
        _FAILED,
        graph("Latency, p50", Query(_phase(0.5, "total"), _VERSION), unit="s"),
        graph("Latency, p99", Query(_phase(0.99, "total"), _VERSION), unit="s"),
        graph("Model alone, p50", Query(_phase(0.5, "compute_infer"), _VERSION), unit="s"),
        graph("Queue, p99", Query(_phase(0.99, "queue"), _VERSION), unit="s"),
        _evidence("version, signal", "version {{version}} {{signal}}"),
        graph(
            "Verdict",
            Query(
                f"max by (candidate, baseline, decision) (penstock_verdict{{{_MODEL}}}) > 0 or on () vector(0)",
                "{{candidate}} for {{baseline}}: {{decision}}",
            ),
            text="1 for the decision that stands on whether one version may replace the other: penstock verdict.",
        ),
        graph(
            "Evidence of the verdict",
            Query(
                f"max by (candidate, guardrail, test) (penstock_verdict_evidence_ratio{{{_MODEL}}}) or on () vector(0)",
                "{{candidate}}: {{guardrail}} {{test}}",
            ),
            unit="percentunit",
            text="Of what decides: of harm for a roll-back, of safety for a promotion.",
        ),
        _READY,
        graph(
            "Starts of crashed processes",
            Query(f"sum by (version) (penstock_instance_restarts_total{{{_ONE}}})", _VERSION),
        ),
    ),
    variables=_VARIABLES,
)

INCIDENT = Dashboard(
    "penstock-incident",
    "Penstock: incident",
    "What left its course, since when, and the traces that show it. Incidents are the red regions.",
    (
        alerts("Incidents"),
        _evidence("signal, phase", "{{signal}} {{phase}}", width=12),
        graph(
            "Open incidents",
            Query(f"sum by (signal) (penstock_incidents_open{{{_MODEL}}})", "{{signal}}"),
            width=12,
        ),
        *(
            graph(
                f"{title}, p50 and p99",
                *(Query(_phase(level, phase), f"p{level * 100:g}", has_exemplars=True) for level in (0.5, 0.99)),
                unit="s",
            )
            for phase, title in (("compute_infer", "Model"), ("queue", "Queue"), ("total", "Whole request"))
        ),
        _FAILED,
        _REQUESTS,
        _ROWS,
        _READY,
        _BATCHES,
        graph("Errors", Query(rate("penstock_instance_errors_total", _ONE, by="instance"), "{{instance}}"), unit="ops"),
    ),
    variables=_VARIABLES,
    hidden_variables=("incident",),
)

DASHBOARDS = (FLEET, MODEL, ROLLOUT, INCIDENT, SERVICES, MONITOR)


def queries() -> Iterator[tuple[Dashboard, Panel, Query]]:
    """Every query of every panel."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                yield dashboard, panel, query


def texts() -> dict[str, str]:
    """The dashboards' files by name."""
    return {
        f"{dashboard.uid}.json": json.dumps(rendered(dashboard), indent=1, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
    }


def write(folder: Path) -> list[Path]:
    """Write all dashboards below a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts()]
