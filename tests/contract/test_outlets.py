"""What deploy/ has for other systems is what the code makes, and names only what the suite emits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from penstock.export import dashboards
from penstock.export.rules import rules
from penstock.export.suite_rules import JOBS
from penstock.registry.v1.resources_pb2 import Deployment, Slo
from tests.contract.test_telemetry_names import METRIC, documented

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DIGITS = Deployment(
    name="deployments/digits", slo=Slo(availability=0.999, latency_seconds=0.2, latency_share=0.99, window_days=30)
)
OF_HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")


def metrics_in(text: str) -> set[str]:
    """Our metrics that a text names; those that our own rules record have colons in their names."""
    names = re.findall(r"(?<![\w:])(?:penstock|nv)_[a-z0-9_]+(?![\w:-])", text)
    known = documented(METRIC)
    return {name if name in known else OF_HISTOGRAMS.sub("", name).removesuffix("_total") for name in names}


def test_the_dashboards_are_those_that_the_code_makes() -> None:
    files = {path.name: path.read_text() for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}

    assert files == dashboards.texts(), "run `penstock export dashboards deploy/grafana/dashboards`"


@pytest.mark.parametrize(
    "text",
    [rules([DIGITS], with_incidents=True), "\n".join(query.expr for _, _, query in dashboards.queries())],
    ids=["rules", "dashboards"],
)
def test_rules_and_dashboards_name_documented_metrics_only(text: str) -> None:
    found = metrics_in(text)

    assert len(found) > 10
    assert sorted(found - documented(METRIC)) == []


def test_recorded_series_that_panels_show_are_recorded() -> None:
    recorded = set(re.findall(r"record: \"?([\w:]+)", rules([DIGITS], with_incidents=False)))
    shown = {name for _, _, query in dashboards.queries() for name in re.findall(r"model:[\w:]+", query.expr)}

    assert shown
    assert shown <= recorded


def test_prometheus_scrapes_what_rules_and_panels_select_by() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}

    assert all(re.fullmatch(JOBS, job) for job in jobs)
    texts = rules([DIGITS], with_incidents=True) + json.dumps([query.expr for _, _, query in dashboards.queries()])
    assert set(re.findall(r'job=\\*"([\w-]+)\\*"', texts)) <= jobs


def test_provisioned_data_sources_are_those_that_dashboards_link_to() -> None:
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/penstock.yml").read_text())["datasources"]
    uids = {one["uid"] for one in provisioned}

    assert {one["type"] for one in provisioned} == {"prometheus", "jaeger", "alertmanager"}
    (prometheus,) = (one for one in provisioned if one["type"] == "prometheus")
    assert {one["datasourceUid"] for one in prometheus["jsonData"]["exemplarTraceIdDestinations"]} <= uids
