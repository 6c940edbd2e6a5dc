"""What receivers are to be told of incidents, at any time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from services.monitor.domain.alerts import MAX_ENDED, AlertBook, Links, alert_of, power_of_ten
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Cause, Phase, Severity, Signal

INCIDENT = Incident(
    incident_id="0" * 20,
    model="digits",
    version="3",
    signal=Signal.LATENCY,
    phase=Phase.TOTAL,
    summary="Total of digits version 3 became slower: median rose from 5 ms to 50 ms.",
    before=0.005,
    after=0.05,
    change_ns=1_700_000_000 * NS,
    open_ns=1_700_000_005 * NS,
    log_evalue=math.log(1.2e7),
    average_run_length=1e7,
    traces=("ab" * 16, "cd" * 16),
)
LINKS = Links(trace="http://jaeger/trace/{trace_id}", incident="http://grafana/d/x?var-model={model}&to={to_ms}")
NOW = 1_700_000_060 * NS


def told(book: AlertBook) -> list[tuple[str, str, bool]]:
    """Incident, phase, and whether it fires, of what is due."""
    return [(one.incident_id[0], dict(one.labels).get("phase", ""), one.ends_ns is None) for one in book.due()]


def test_an_alert_says_what_changed_since_when_and_where_to_look() -> None:
    alert = alert_of(INCIDENT, LINKS)

    assert dict(alert.labels) == {
        "alertname": "PenstockIncident",
        "model": "digits",
        "version": "3",
        "signal": "latency",
        "phase": "total",
        "arm": "stable",
        "cause": "version",
        "severity": "page",
    }
    assert alert.annotations == {
        "summary": INCIDENT.summary,
        "change": "5 ms → 50 ms",
        "since": "2023-11-14T22:13:20+00:00",
        "e_value": "1.2e7",
        "average_run_length": "1.0e7",
        "incident": f"incidents/{INCIDENT.incident_id}",
        "traces": f"http://jaeger/trace/{'ab' * 16}\nhttp://jaeger/trace/{'cd' * 16}",
    }
    assert alert.url == "http://grafana/d/x?var-model=digits&to=now"


def test_labels_without_a_value_are_left_out() -> None:
    alert = alert_of(replace(INCIDENT, signal=Signal.ERROR_RATE, phase=None, traces=()), Links())

    assert "phase" not in dict(alert.labels)
    assert (alert.url, "traces" in alert.annotations) == ("", False)


def test_what_a_rule_found_at_a_replica_has_no_evidence_and_names_it() -> None:
    found = replace(
        INCIDENT,
        signal=Signal.STUCK,
        phase=None,
        replica="node-a/m1",
        cause=Cause.REPLICA,
        severity=Severity.TICKET,
        log_evalue=0.0,
        average_run_length=0.0,
        innocent_traces=("ef" * 16,),
    )
    alert = alert_of(found, LINKS)

    labels = dict(alert.labels)
    assert (labels["replica"], labels["cause"], labels["severity"]) == ("node-a/m1", "replica", "ticket")
    assert not {"e_value", "average_run_length"} & alert.annotations.keys()
    assert alert.annotations["innocent_traces"] == f"http://jaeger/trace/{'ef' * 16}"


@pytest.mark.parametrize(
    ("logarithm", "text"),
    [(math.log(9.96e6), "1.0e7"), (math.log(1.25), "1.2e0"), (2_000.0, "3.9e868"), (0.0, "1.0e0")],
)
def test_e_values_are_shown_however_large(logarithm: float, text: str) -> None:
    assert power_of_ten(logarithm) == text


def test_what_goes_on_is_told_again_and_again_and_what_ended_until_it_was_told() -> None:
    book = AlertBook()
    book.take(alert_of(INCIDENT, LINKS), now_ns=NOW)
    for alert in book.due():
        book.told(alert)
    assert told(book) == [("0", "total", True)]

    book.take(alert_of(replace(INCIDENT, close_ns=NOW), LINKS), now_ns=NOW)
    assert (told(book), len(book)) == ([("0", "total", False)], 1)
    for alert in book.due():
        book.told(alert)
    assert book.due() == []


def test_an_incident_that_moves_to_a_deeper_phase_ends_one_alert_and_begins_another() -> None:
    book = AlertBook()
    book.take(alert_of(INCIDENT, LINKS), now_ns=NOW)
    deeper = replace(INCIDENT, phase=Phase.COMPUTE_INFER)
    book.take(alert_of(deeper, LINKS), now_ns=NOW)

    assert told(book) == [("0", "compute_infer", True), ("0", "total", False)]
    assert book.due()[1].ends_ns == NOW

    book.take(alert_of(replace(deeper, close_ns=NOW), LINKS), now_ns=NOW)
    assert told(book) == [("0", "total", False), ("0", "compute_infer", False)]


def test_a_new_incident_with_the_labels_of_one_that_ended_goes_on_with_its_alert() -> None:
    book = AlertBook()
    book.take(alert_of(INCIDENT, LINKS), now_ns=NOW)
    book.take(alert_of(replace(INCIDENT, close_ns=NOW), LINKS), now_ns=NOW)
    book.take(alert_of(replace(INCIDENT, incident_id="1" * 20), LINKS), now_ns=NOW)

    assert told(book) == [("1", "total", True)]


def test_the_end_of_one_of_two_incidents_with_the_same_labels_ends_no_alert() -> None:
    book = AlertBook()
    book.take(alert_of(INCIDENT, LINKS), now_ns=NOW)
    book.take(alert_of(replace(INCIDENT, incident_id="1" * 20), LINKS), now_ns=NOW)
    book.take(alert_of(replace(INCIDENT, close_ns=NOW), LINKS), now_ns=NOW)

    assert told(book) == [("1", "total", True)]


def test_what_ended_while_it_was_being_told_is_kept() -> None:
    book = AlertBook()
    book.take(alert_of(INCIDENT, LINKS), now_ns=NOW)
    sent = book.due()
    book.take(alert_of(replace(INCIDENT, close_ns=NOW), LINKS), now_ns=NOW)
    for alert in sent:
        book.told(alert)

    assert told(book) == [("0", "total", False)]


def test_what_ended_is_bounded_and_the_oldest_is_dropped_and_counted() -> None:
    dropped: list[int] = []
    book = AlertBook(on_drop=dropped.append)
    for number in range(MAX_ENDED + 3):
        ended = replace(INCIDENT, incident_id=f"{number:020x}", version=str(number), close_ns=NOW)
        book.take(alert_of(ended, LINKS), now_ns=NOW)

    assert (len(book), sum(dropped)) == (MAX_ENDED, 3)
    assert dict(book.due()[0].labels)["version"] == "3"
