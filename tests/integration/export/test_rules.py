"""Prometheus itself takes the rules, and they fire when they should and not otherwise."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from penstock.export.rules import rules
from penstock.registry.v1.resources_pb2 import Deployment, QueueConfig, Slo
from tests.support.prometheus import program

DIGITS = Deployment(
    name="deployments/digits",
    slo=Slo(availability=0.999, latency_seconds=0.2, latency_share=0.99, window_days=30),
    queue=QueueConfig(max_queue_size=100),
)
WEEKLY = Deployment(name="deployments/weekly", slo=Slo(availability=0.99, window_days=7))

UP = {f'up{{job="penstock-{job}",instance="a:1"}}': "1x4400" for job in ("gateway", "inference", "registry", "monitor")}
DECLARED = {
    'penstock_slo_target{model="digits",objective="availability"}': "0.999x4400",
    'penstock_slo_target{model="digits",objective="latency"}': "0.99x4400",
    'penstock_slo_target{model="weekly",objective="availability"}': "0.99x4400",
}
DIGITS_BUDGET = 'model:penstock_slo_budget:remaining_ratio{model="digits",objective="availability"}'
ALERTS = 'sum by (alertname, window, objective) (ALERTS{alertstate="firing"})'


def requests(model: str, *, ok: str, failed: str) -> dict[str, str]:
    """Counters' series in promtool's notation: begin, growth a minute, minutes."""
    counter = f'penstock_requests_total{{model="{model}",version="1",outcome='
    return {f'{counter}"ok"}}': ok, f'{counter}"server_error"}}': failed, f'{counter}"client_error"}}': "0+500x4400"}


def promtool(*arguments: str) -> None:
    done = subprocess.run([*program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yml"
    path.write_text(rules([DIGITS, WEEKLY], with_incidents=True))
    return path


def check(file: Path, series: Mapping[str, str], *, at: str, firing: Sequence[Mapping[str, str]]) -> None:
    """Let promtool run the rules over so many minutes, and compare what fires then."""
    evaluate(file, series, ALERTS, at=at, expected=[(labels, 1) for labels in firing])


def evaluate(
    file: Path,
    series: Mapping[str, str],
    expression: str,
    *,
    at: str,
    expected: Sequence[tuple[Mapping[str, str], float]],
) -> None:
    """Let promtool run the rules over so many minutes, and compare what an expression gives then."""
    samples = [
        {"labels": f"{{{','.join(f'{name}={json.dumps(text)}' for name, text in labels.items())}}}", "value": value}
        for labels, value in expected
    ]
    test = {
        "rule_files": [str(file)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": samples}],
            }
        ],
    }
    path = file.with_name("test.yml")
    path.write_text(json.dumps(test))
    promtool("test", "rules", str(path))


def burning(*windows: str, objective: str = "availability") -> list[dict[str, str]]:
    return [{"alertname": "PenstockErrorBudgetBurn", "objective": objective, "window": one} for one in windows]


def named(*names: str) -> list[dict[str, str]]:
    return [{"alertname": name} for name in names]


def test_prometheus_takes_the_rules(file: Path) -> None:
    promtool("check", "rules", str(file))


def test_prometheus_takes_the_rules_of_a_suite_without_models(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(rules([], with_incidents=False))

    promtool("check", "rules", str(path))


def test_nothing_fires_while_the_promise_is_kept(file: Path) -> None:
    kept = requests("digits", ok="0+10000x300", failed="0+5x300")

    check(file, {**UP, **DECLARED, **kept}, at="5h", firing=[])


def test_a_fast_burn_fires_at_once_in_all_windows(file: Path) -> None:
    broken = requests("digits", ok="0+1000x30", failed="0+50x30")

    check(file, {**UP, **DECLARED, **broken}, at="10m", firing=burning("1h", "6h", "1d", "3d"))


def test_a_slow_burn_is_a_ticket_and_no_page(file: Path) -> None:
    broken = requests("digits", ok="0+10000x1500", failed="0+40x1500")

    check(file, {**UP, **DECLARED, **broken}, at="24h", firing=burning("1d", "3d"))


def test_a_burn_that_is_over_stops_firing_though_the_long_window_remembers(file: Path) -> None:
    broken = requests("digits", ok="0+1000x120", failed="0+0x30 0+100x10 1000+0x80")

    check(file, {**UP, **DECLARED, **broken}, at="41m", firing=burning("1h", "6h", "1d", "3d"))
    check(file, {**UP, **DECLARED, **broken}, at="50m", firing=burning("6h", "1d", "3d"))


def test_a_single_failure_in_little_traffic_fires_nothing(file: Path) -> None:
    quiet = requests("digits", ok="0+1x30", failed="0+0x5 1+0x25")

    check(file, {**UP, **DECLARED, **quiet}, at="8m", firing=[])


def test_few_requests_that_all_fail_fire_when_there_are_enough(file: Path) -> None:
    dead = requests("digits", ok="0+0x120", failed="0+1x120")

    check(file, {**UP, **DECLARED, **dead}, at="30m", firing=burning("1h", "6h", "1d", "3d"))


def test_slow_requests_burn_the_latency_budget(file: Path) -> None:
    slow = {
        'penstock_phase_duration_seconds_count{model="digits",version="1",phase="total"}': "0+1000x30",
        'penstock_slo_slow_requests_total{model="digits",version="1",threshold="0.2"}': "0+200x30",
    }

    check(file, {**UP, **DECLARED, **slow}, at="10m", firing=burning("1h", "6h", "1d", "3d", objective="latency"))


def test_the_budget_that_is_left_goes_by_requests(file: Path) -> None:
    labels = {"model": "digits", "objective": "availability"}
    day_and_night = requests("digits", ok="0+100000x300 30000000+1x180", failed="0+0x300 0+1x180")
    twice_too_many = requests("digits", ok="0+998x300", failed="0+2x300")
    left = f"round({DIGITS_BUDGET}, 0.1)"

    evaluate(file, {**UP, **DECLARED, **day_and_night}, left, at="8h", expected=[(labels, 1.0)])
    evaluate(file, {**UP, **DECLARED, **twice_too_many}, left, at="5h", expected=[(labels, -1.0)])


def test_no_budget_is_told_of_what_nobody_asks(file: Path) -> None:
    asleep = requests("digits", ok="5+0x300", failed="1+0x300")

    evaluate(file, {**UP, **DECLARED, **asleep}, DIGITS_BUDGET, at="5h", expected=[])


def test_a_shorter_promise_has_shorter_windows(file: Path) -> None:
    broken = requests("weekly", ok="0+0x30", failed="0+100x30")

    check(file, {**UP, **DECLARED, **broken}, at="10m", firing=burning("14m", "84m", "336m", "1008m"))


@pytest.mark.parametrize(
    ("series", "alert"),
    [
        ({'up{job="penstock-gateway",instance="a:1"}': "0x30"}, "PenstockDown"),
        ({'penstock_monitor_spans_total{result="dropped"}': "0+1x30"}, "PenstockSpansDropped"),
        ({'penstock_monitor_spans_total{result="refused"}': "0+1x30"}, "PenstockSpansDropped"),
        ({'penstock_gateway_spans_total{result="dropped"}': "0+1x30"}, "PenstockSpansLostBySenders"),
        (
            {"penstock_monitor_queue_spans": "900x30", "penstock_monitor_queue_limit_spans": "1000x30"},
            "PenstockMonitorQueueNearLimit",
        ),
        (
            {
                'penstock_monitor_lag_seconds{instance="a"}': "40x30",
                'penstock_monitor_spans_total{instance="a"}': "0+9x30",
            },
            "PenstockMonitorLags",
        ),
        (
            {'penstock_phase_duration_seconds_count{model="_overflow",version="_overflow",phase="total"}': "0+9x30"},
            "PenstockMonitorSeriesFull",
        ),
        ({'penstock_monitor_receiver_up{receiver="alertmanager"}': "0x30"}, "PenstockReceiverDown"),
        (
            {'penstock_gateway_refusals_total{model="m",version="1",reason="NO_LIVE_PROCESS"}': "0+3x30"},
            "PenstockNoLiveProcess",
        ),
        ({'penstock_instance_restarts_total{model="m",version="1",instance="i"}': "0+1x30"}, "PenstockModelCrashes"),
        ({'nv_inference_pending_request_count{model="digits",version="1"}': "81x30"}, "PenstockModelQueueNearLimit"),
        ({"penstock_gateway_redis_up": "0x30"}, "PenstockRedisDown"),
        ({"penstock_gateway_ready": "0x30"}, "PenstockGatewayNotReady"),
        ({"penstock_registry_writer": "0x30"}, "PenstockNoRegistryWrites"),
        ({'penstock_incidents_open{model="m",signal="latency"}': "1x30"}, "PenstockIncidentOpen"),
        ({'penstock_service_incidents_open{service="s",signal="latency"}': "1x30"}, "PenstockServiceIncidentOpen"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_wrong_with_the_suite_fires_its_alert_alone(file: Path, series: dict[str, str], alert: str) -> None:
    check(file, {**UP, **DECLARED, **series}, at="14m", firing=named(alert))


def test_names_of_a_clients_invention_fire_nothing(file: Path) -> None:
    full = {"penstock_monitor_series": "200x30", "penstock_monitor_series_limit": "200x30"}
    invented = {'penstock_requests_total{model="_overflow",version="_overflow",outcome="client_error"}': "0+9x30"}

    check(file, {**UP, **DECLARED, **full, **invented}, at="14m", firing=[])


def test_a_monitor_that_is_gone_fires_though_nothing_is_scraped_of_it(file: Path) -> None:
    gone = {name: values for name, values in UP.items() if "monitor" not in name}

    check(file, gone, at="14m", firing=named("PenstockMonitorDown"))


@pytest.mark.parametrize(
    ("declared", "objective"),
    [
        ({**DECLARED, 'penstock_slo_target{model="digits",objective="latency"}': "0.95x60"}, "latency"),
        ({**DECLARED, 'penstock_slo_target{model="new",objective="latency"}': "0.95x60"}, "latency"),
        ({name: values for name, values in DECLARED.items() if "weekly" not in name}, "availability"),
    ],
    ids=["another promise", "a new one", "one less"],
)
def test_rules_that_are_not_those_of_the_promises_fire(file: Path, declared: dict[str, str], objective: str) -> None:
    firing = [{"alertname": "PenstockSloRulesOutdated", "objective": objective}]

    check(file, {**UP, **declared}, at="30m", firing=firing)
