"""Prometheus' rules as they are written; what Prometheus makes of them is tested with promtool."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.export import yaml_text
from penstock.export.burn_rates import burns, named
from penstock.export.rules import rules
from penstock.registry.v1.resources_pb2 import Deployment, QueueConfig, Slo

DIGITS = Deployment(
    name="deployments/digits",
    slo=Slo(availability=0.999, latency_seconds=0.2, latency_share=0.99, window_days=30),
    queue=QueueConfig(max_queue_size=100),
)
PLAIN = Deployment(name="deployments/plain")

SCALARS = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
DOCUMENTS = st.recursive(
    st.dictionaries(st.text(min_size=1), SCALARS, max_size=3),
    lambda inner: st.dictionaries(
        st.text(min_size=1), st.one_of(inner, st.lists(st.one_of(inner, SCALARS), max_size=3)), max_size=3
    ),
    max_leaves=10,
)


def groups(*deployments: Deployment, **options: bool) -> dict[str, list[dict[str, Any]]]:
    text = rules(deployments, with_incidents=options.get("with_incidents", False))
    return {group["name"]: group["rules"] for group in yaml.safe_load(text)["groups"]}


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "5m",
        "1e3",
        "12",
        "",
        "a: b",
        "- a",
        "a # b",
        "{{ $value }}",
        "ends ",
        "two\nlines",
        "tab\t",
        "null",
        "ü ⇒",
        "~",
    ],
)
def test_texts_come_back_from_yaml_as_they_were(text: str) -> None:
    assert yaml.safe_load(yaml_text.dumped({"a": text, "b": [text, {"c": text}]})) == {
        "a": text,
        "b": [text, {"c": text}],
    }


@given(DOCUMENTS)
def test_documents_come_back_from_yaml_as_they_were(document: dict[str, Any]) -> None:
    text = yaml_text.dumped(document) if document else "{}"
    assert yaml.safe_load(text) == document


def test_burn_rates_are_the_workbooks() -> None:
    assert [(one.rate, named(one.long_s), named(one.short_s), one.severity) for one in burns(30)] == [
        (14.4, "1h", "5m", "page"),
        (6.0, "6h", "30m", "page"),
        (3.0, "1d", "2h", "ticket"),
        (1.0, "3d", "6h", "ticket"),
    ]


@given(st.integers(7, 90))
def test_windows_keep_their_order_and_their_share_of_the_objectives(days: int) -> None:
    chosen = burns(days)

    for quicker, slower in pairwise(chosen):
        assert quicker.long_s < slower.long_s
        assert quicker.short_s < slower.short_s
    for one, share in zip(chosen, (0.02, 0.05, 0.1, 0.1), strict=True):
        assert one.rate * one.long_s / (days * 86_400) == pytest.approx(share, rel=0.1)
        assert 120 <= one.short_s < one.long_s


def test_a_model_without_a_promise_has_rules_for_its_queue_only() -> None:
    found = groups(PLAIN)

    assert [name for name in found if "plain" in name] == []
    assert [rule["expr"] for rule in found["penstock-queues"]] == [
        'nv_inference_pending_request_count{model="plain"} > 8000'
    ]


def test_a_promise_becomes_ratios_a_budget_and_four_alerts_for_each_objective() -> None:
    found = groups(PLAIN, DIGITS)["penstock-slo-digits"]

    for objective in ("availability", "latency"):
        recorded = [rule["record"] for rule in found if rule.get("labels", {}).get("objective") == objective]
        assert [name.rpartition("ratio_rate")[2] for name in recorded if "ratio_rate" in name] == [
            "5m", "30m", "1h", "2h", "6h", "1d", "3d",
        ]  # fmt: skip
    alerts = [rule for rule in found if "alert" in rule]
    assert [rule["labels"]["severity"] for rule in alerts] == ["page", "page", "ticket", "ticket"] * 2
    assert "> 0.0144\n" in alerts[0]["expr"]
    assert "> 0.144\n" in alerts[4]["expr"]
    assert alerts[4]["annotations"]["summary"] == "digits breaks its promise: 99 % of its requests take at most 0.2 s"


def test_what_would_take_more_failures_than_requests_is_no_alert() -> None:
    lenient = Deployment(name="deployments/lenient", slo=Slo(availability=0.8, window_days=30))

    alerts = [rule for rule in groups(lenient)["penstock-slo-lenient"] if "alert" in rule]
    assert [rule["labels"]["window"] for rule in alerts] == ["1d", "3d"]


def test_open_incidents_are_alerts_only_where_that_is_asked_for() -> None:
    assert "penstock-incidents" not in groups()
    asked_for = groups(with_incidents=True)["penstock-incidents"]
    assert [rule["alert"] for rule in asked_for] == ["PenstockIncidentOpen", "PenstockServiceIncidentOpen"]


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    for name, group in groups(PLAIN, DIGITS, with_incidents=True).items():
        for rule in group:
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("page", "ticket"), (name, rule)
                assert set(rule["annotations"]) == {"summary", "description"}, (name, rule)
