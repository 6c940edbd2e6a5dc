"""A real Prometheus that scrapes a running suite: rules are taken, panels have data, exemplars lead to traces."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import tritonclient.grpc as triton

from penstock.export.dashboards import queries
from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from tests.support import models
from tests.support.prometheus import AlertmanagerServer, PrometheusServer
from tests.support.suite import Suite, wait_until
from tests.unit.common.test_logs import check_line

pytestmark = pytest.mark.timeout(400)

JOBS = ("gateway", "inference", "registry", "monitor")
PAUSE_S = 0.02


class Load:
    """Asks a model again and again, one request after the other."""

    def __init__(self, suite: Suite, model: str) -> None:
        self._suite, self._model = suite, model
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers = 0

    def _ask(self) -> None:
        tensor = triton.InferInput("image", [1, 64], "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(models.digits().images[:1]))
        with triton.InferenceServerClient(self._suite.grpc_address) as client:
            while not self._is_over.is_set():
                client.infer(self._model, [tensor])
                self.answers += 1
                time.sleep(PAUSE_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def watched(model_files: dict[str, Path]) -> Iterator[tuple[Suite, PrometheusServer]]:
    """A suite under load, and the Prometheus that scrapes it; both have the same Alertmanager."""
    with (
        AlertmanagerServer() as alertmanager,
        Suite(
            PENSTOCK_MONITOR__ALERTMANAGER_URL=alertmanager.url,
            PENSTOCK_MONITOR__ALERTMANAGER_RESEND_S="5",
            PENSTOCK_TRACE_SAMPLE_RATIO="1",
        ) as suite,
    ):
        suite.command("deploy", str(model_files["digits"]), "--name", "digits")
        suite.command("slo", "digits", "--availability", "0.999", "--latency", "0.5", "--share", "0.99")
        rules = suite.command_text("export", "rules")
        targets = {
            f"penstock-{job}": f"127.0.0.1:{suite.environ[f'PENSTOCK_{job.upper()}__METRICS_PORT']}" for job in JOBS
        }
        with (
            PrometheusServer(targets, rules=rules, alertmanager=alertmanager.address) as prometheus,
            Load(suite, "digits") as load,
        ):
            wait_until(lambda: prometheus.query("model:penstock_slo_budget:remaining_ratio"), within=150)
            yield suite, prometheus
            assert load.answers > 100


def test_every_service_is_scraped(watched: tuple[Suite, PrometheusServer]) -> None:
    _, prometheus = watched

    up = {one["metric"]["job"]: one["value"][1] for one in prometheus.query("up")}
    assert up == dict.fromkeys((f"penstock-{job}" for job in JOBS), "1")


def test_every_rule_is_healthy_and_nothing_fires(watched: tuple[Suite, PrometheusServer]) -> None:
    _, prometheus = watched

    groups = prometheus.ask("/api/v1/rules")["data"]["groups"]
    assert {group["name"] for group in groups} >= {"penstock-slo-digits", "penstock-monitor", "penstock-serving"}
    for group in groups:
        for rule in group["rules"]:
            assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule
    alerts = prometheus.ask("/api/v1/alerts")["data"]["alerts"]
    assert [one for one in alerts if one["state"] == "firing"] == []


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param(query.expr, id=f"{dashboard.uid}: {panel.title} {number}")
        for number, (dashboard, panel, query) in enumerate(queries())
    ],
)
def test_every_panel_has_data(watched: tuple[Suite, PrometheusServer], expression: str) -> None:
    _, prometheus = watched
    for variable, value in {"model": "digits", "version": ".*", "__rate_interval": "1m", "__range": "5m"}.items():
        expression = expression.replace(f"${variable}", value)

    found = prometheus.query(expression)
    assert found, expression
    assert all(one["value"][1] != "NaN" for one in found), found


def test_promised_and_kept(watched: tuple[Suite, PrometheusServer]) -> None:
    _, prometheus = watched

    budgets = prometheus.query("model:penstock_slo_budget:remaining_ratio")
    assert {one["metric"]["objective"] for one in budgets} == {"availability", "latency"}
    assert prometheus.query('penstock_slo_target{objective="availability"}')[0]["value"][1] == "0.999"


def test_exemplars_are_traces_that_the_monitor_has(watched: tuple[Suite, PrometheusServer]) -> None:
    suite, prometheus = watched

    found = wait_until(lambda: prometheus.exemplars("penstock_phase_duration_seconds_bucket"))
    newest = max(found, key=lambda one: one["timestamp"])
    trace = suite.monitor.GetTrace(monitor_pb.GetTraceRequest(name=f"traces/{newest['labels']['trace_id']}")).trace
    assert (trace.model, len(trace.spans) > 0) == ("digits", True)


def test_the_logs_of_all_parts_are_what_filebeat_is_told_to_expect(watched: tuple[Suite, PrometheusServer]) -> None:
    suite, _ = watched

    lines = [
        (path.name, line)
        for path in sorted((suite.home / "logs").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert {name for name, _ in lines} >= {"redis.jsonl"}
    for _, line in lines:
        check_line(line)
