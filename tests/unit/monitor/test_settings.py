"""Which receivers the monitor can be told to use."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from services.monitor import outlets
from services.monitor.settings import MonitorSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"alertmanager_url": "127.0.0.1:9093"},
        {"alertmanager_url": "ftp://host"},
        {"alertmanager_url": "http://user:secret@host:9093"},
        {"alertmanager_url": "http://a:1,nonsense"},
        {"alertmanager_url": "http://host:99999"},
        {"grafana_url": "http://host/?orgId=1"},
        {"grafana_token": "two\nlines"},
        {"trace_url_template": "http://jaeger/trace/"},
        {"trace_url_template": "jaeger/{trace_id}"},
        {"incident_url_template": "nowhere"},
        {"alertmanager_resend_s": 0.5},
    ],
    ids=str,
)
def test_what_is_no_receiver_is_refused_at_the_start(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        MonitorSettings(**wrong)  # type: ignore[arg-type]

    assert "secret" not in refused.value.errors()[0]["msg"]


def test_each_alertmanager_of_a_cluster_is_told_by_itself() -> None:
    settings = MonitorSettings(alertmanager_url="http://a:9093, https://[::1]/am/", grafana_url="http://g:3000")

    built = outlets.build(settings, clock=time.time_ns)

    assert [(one.receiver.kind, one.receiver.address) for one in built] == [
        ("alertmanager", "a:9093"), ("alertmanager", "[::1]:443"), ("grafana", "g:3000"),
    ]  # fmt: skip


def test_incidents_link_to_the_dashboard_unless_told_otherwise() -> None:
    assert outlets.links_of(MonitorSettings()).incident == ""
    assert outlets.links_of(MonitorSettings(grafana_url="http://g/")).incident.startswith(
        "http://g/d/penstock-incident?"
    )
    settings = MonitorSettings(grafana_url="http://g", incident_url_template="http://x/{incident_id}")
    assert outlets.links_of(settings).incident == "http://x/{incident_id}"
