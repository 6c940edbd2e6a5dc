"""Grafana's dashboards as they are made; that their queries find data is tested with a real Prometheus."""

from __future__ import annotations

import json

import pytest

from penstock.export.dashboards import DASHBOARDS, queries, texts
from penstock.export.panels import Dashboard, rendered


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
def test_panels_fill_the_page_without_overlapping(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in rendered(dashboard)["panels"]:
        place = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert max(column for column, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboards_and_panels_are_told_apart() -> None:
    assert len({one.uid for one in DASHBOARDS}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS:
        ids = [panel["id"] for panel in rendered(dashboard)["panels"]]
        assert len(set(ids)) == len(ids)


def test_every_variable_that_is_used_is_declared() -> None:
    for dashboard, panel, query in queries():
        names = {"model", "version"} & {name for name in ("model", "version") if f"${name}" in query.expr}
        assert names <= set(dashboard.variables), (dashboard.uid, panel.title)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
def test_incidents_are_annotations_of_every_dashboard(dashboard: Dashboard) -> None:
    incidents = rendered(dashboard)["annotations"]["list"][0]

    assert incidents["datasource"]["type"] == "grafana"
    assert incidents["target"]["tags"] == ["penstock", "incident"]


def test_files_are_json_named_by_the_dashboard() -> None:
    assert {name: json.loads(text)["uid"] for name, text in texts().items()} == {
        f"{one.uid}.json": one.uid for one in DASHBOARDS
    }
