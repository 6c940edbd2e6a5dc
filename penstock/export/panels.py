"""Grafana's panels and dashboards as short calls; the JSON model is that of Grafana 10 and later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
_GRAFANA = {"type": "grafana", "uid": "-- Grafana --"}
_COLUMNS = 24
_HEIGHTS = {"stat": 4, "gauge": 4}
_HEIGHT = 8


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression; ``legend`` may have labels, ``{{model}}``. Exemplars are traces of histograms' buckets."""

    expr: str
    legend: str = ""
    has_exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``unit`` is Grafana's name of it; ``width`` of 24 columns."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    text: str = ""
    mappings: Mapping[str, str] = field(default_factory=dict)
    """Texts and colours by value, ``{"0": "down:red"}``."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels, in rows that they fill from the left. ``variables`` are labels to choose values of."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    """PromQL of ``label_values`` by name."""
    hidden_variables: Sequence[str] = ()
    """Given by links only."""


def graph(title: str, *queries: Query, unit: str = "short", width: int = 8, text: str = "") -> Panel:
    return Panel(title, queries, unit=unit, width=width, text=text)


def number(title: str, expr: str, *, unit: str = "short", width: int = 4, text: str = "") -> Panel:
    return Panel(title, (Query(expr),), unit=unit, kind="stat", width=width, text=text)


def states(title: str, expr: str, legend: str, *, width: int = 8, text: str = "") -> Panel:
    """Whether things are up, each in a colour."""
    mappings = {"0": "down:red", "1": "up:green"}
    return Panel(title, (Query(expr, legend),), kind="stat", width=width, text=text, mappings=mappings)


def alerts(title: str, *, width: int = 24) -> Panel:
    """What the Alertmanager has."""
    return Panel(title, (), kind="alertlist", width=width)


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["penstock"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {"type": "dashboards", "title": "Penstock", "tags": ["penstock"], "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [*_sources(dashboard), *_variables(dashboard)]},
        "annotations": {"list": _annotations(dashboard)},
        "panels": _laid_out(dashboard.panels),
    }


def _sources(dashboard: Dashboard) -> list[dict[str, Any]]:
    kinds = {"datasource": "prometheus"}
    if any(panel.kind == "alertlist" for panel in dashboard.panels):
        kinds["alertmanager"] = "alertmanager"
    return [
        {"name": name, "label": kind.capitalize(), "type": "datasource", "query": kind, "hide": 0}
        for name, kind in kinds.items()
    ]


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    chosen: list[dict[str, Any]] = [
        {
            "name": name,
            "type": "query",
            "datasource": PROMETHEUS,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": name != "model",
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
        for name, query in dashboard.variables.items()
    ]
    hidden = [{"name": name, "type": "textbox", "hide": 2, "query": ""} for name in dashboard.hidden_variables]
    return [*chosen, *hidden]


def _annotations(dashboard: Dashboard) -> list[dict[str, Any]]:
    selector = '{model=~"$model"}' if "model" in dashboard.variables else ""
    return [
        {
            "name": "Incidents",
            "datasource": _GRAFANA,
            "enable": True,
            "iconColor": "red",
            "target": {"type": "tags", "tags": ["penstock", "incident"], "matchAny": False, "limit": 100},
        },
        {
            "name": "Open incidents (Prometheus)",
            "datasource": PROMETHEUS,
            "enable": False,
            "iconColor": "orange",
            "expr": f"max by (model, signal) (penstock_incidents_open{selector}) > 0",
            "titleFormat": "{{model}}: {{signal}}",
        },
    ]


def _laid_out(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    column = row = height = 0
    for number_, panel in enumerate(panels, 1):
        if column + panel.width > _COLUMNS:
            row, column, height = row + height, 0, 0
        tall = _HEIGHTS.get(panel.kind, _HEIGHT)
        made.append({"id": number_, "gridPos": {"x": column, "y": row, "w": panel.width, "h": tall}, **_panel(panel)})
        column, height = column + panel.width, max(height, tall)
    return made


def _panel(panel: Panel) -> dict[str, Any]:
    made: dict[str, Any] = {"type": panel.kind, "title": panel.title}
    if panel.text:
        made["description"] = panel.text
    if panel.kind == "alertlist":
        return {**made, "options": {"viewMode": "list", "datasource": "${alertmanager}", "maxItems": 20}}
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": PROMETHEUS,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            **({"exemplar": True} if query.has_exemplars else {}),
        }
        for index, query in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        defaults |= {"min": 0, "custom": {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never"}}
    if panel.mappings:
        options = {}
        for value, told in panel.mappings.items():
            text, colour = told.split(":")
            options[value] = {"text": text, "color": colour}
        defaults["mappings"] = [{"type": "value", "options": options}]
    return {
        **made,
        "datasource": PROMETHEUS,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel.kind),
    }


def _options(kind: str) -> dict[str, Any]:
    if kind == "stat":
        return {"colorMode": "background_solid", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
