"""How incidents of services of other makes end: also when what was in alarm is never called again."""

from __future__ import annotations

import numpy as np
import pytest

from services.monitor.domain.blocks import NS
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.foreign import SeriesKey
from services.monitor.domain.foreign_incidents import ForeignIncidents
from services.monitor.domain.incidents import IDLE_S, Incident
from services.monitor.domain.phases import Signal

START_S = 1_700_000_000
NOW_NS = START_S * NS
OLD, NEW = SeriesKey("shop", "GET /cart", "pod-1"), SeriesKey("shop", "GET /cart", "pod-2")
ERRORS = Alarm(Signal.ERROR_RATE, None, 21.0, START_S - 7, 0, np.array([0.001]), np.array([0.053]))


@pytest.fixture
def incidents() -> ForeignIncidents:
    return ForeignIncidents(average_run_length=1e8)


def opened(incidents: ForeignIncidents, key: SeriesKey = OLD) -> Incident:
    (incident,) = incidents.take(key, ERRORS, traces=[], now_ns=NOW_NS)
    return incident


def test_an_incident_ends_when_all_that_was_in_alarm_is_forgotten(incidents: ForeignIncidents) -> None:
    incident = opened(incidents)
    incidents.take(NEW, ERRORS, traces=[], now_ns=NOW_NS)

    assert incidents.forget([OLD], now_ns=NOW_NS + 600 * NS) == []
    (closed,) = incidents.forget([NEW, OLD], now_ns=NOW_NS + 601 * NS)

    assert (closed.incident_id, closed.is_open) == (incident.incident_id, False)
    assert closed.summary.endswith("; closed, as what was in alarm is called no more, after 10.1 min.")
    assert opened(incidents, NEW).incident_id != incident.incident_id


def test_what_is_forgotten_without_an_alarm_ends_nothing(incidents: ForeignIncidents) -> None:
    incident = opened(incidents)

    assert incidents.forget([NEW, SeriesKey("bank", "GET /", "")], now_ns=NOW_NS) == []
    assert incidents.open == [incident]


def test_an_incident_that_no_series_goes_on_with_after_a_restart_ends(incidents: ForeignIncidents) -> None:
    incidents.adopt(opened(ForeignIncidents(average_run_length=1e8)), now_ns=NOW_NS)
    incidents.saw_calls(["shop"], now_ns=NOW_NS + IDLE_S * NS)

    assert incidents.close_idle(now_ns=NOW_NS + IDLE_S * NS - 1) == []
    (closed,) = incidents.close_idle(now_ns=NOW_NS + IDLE_S * NS)

    assert "lost sight of in a restart" in closed.summary
    assert opened(incidents, NEW).is_open


def test_an_incident_that_a_series_goes_on_with_after_a_restart_ends_with_its_recovery(
    incidents: ForeignIncidents,
) -> None:
    incidents.adopt(opened(ForeignIncidents(average_run_length=1e8)), now_ns=NOW_NS)
    assert incidents.goes_on(NEW, Signal.ERROR_RATE)
    incidents.saw_calls(["shop"], now_ns=NOW_NS + 2 * IDLE_S * NS)

    assert incidents.close_idle(now_ns=NOW_NS + 2 * IDLE_S * NS) == []
    (closed,) = incidents.take(NEW, Recovery(Signal.ERROR_RATE, None), traces=[], now_ns=NOW_NS + 700 * NS)

    assert "back to normal" in closed.summary
