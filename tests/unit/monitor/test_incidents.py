from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.monitor.domain.blocks import NS
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.incidents import IDLE_S, Incidents
from services.monitor.domain.phases import Cause, Phase, Severity, Signal
from services.monitor.domain.reference import LEVELS
from services.monitor.domain.summaries import summarise
from tests.support.traffic import START_S

NOW_NS = START_S * NS
BUDGET = Budget(false_alarms_per_week=1, series=200)


def latency(phase: Phase, *, level: int = 0) -> Alarm:
    return Alarm(
        signal=Signal.LATENCY,
        phase=phase,
        log_evalue=19.0,
        change_second=START_S - 12,
        level=level,
        before=np.array([5e6, 4e6, 6e6, 9e6]),
        after=np.array([10e6, 5e6, 12e6, 20e6]),
        traces=(),
    )


ERRORS = Alarm(Signal.ERROR_RATE, None, 21.0, START_S - 7, 0, np.array([0.001]), np.array([0.053]), ())


@pytest.fixture
def incidents() -> Incidents:
    return Incidents(BUDGET)


def test_an_alarm_opens_an_incident_that_says_what_changed(incidents: Incidents) -> None:
    (incident,) = incidents.take("digits", "3", latency(Phase.COMPUTE_INFER), traces=["ab" * 16] * 9, now_ns=NOW_NS)

    assert (incident.model, incident.version, incident.phase) == ("digits", "3", Phase.COMPUTE_INFER)
    assert (incident.before, incident.after) == pytest.approx((0.005, 0.010))
    assert (incident.change_ns, incident.open_ns, incident.close_ns) == ((START_S - 12) * NS, NOW_NS, None)
    assert (incident.log_evalue, incident.average_run_length, len(incident.traces)) == (19.0, BUDGET.run_length, 5)
    assert incident.summary == (
        "Compute infer of digits version 3 became slower: median rose from 5 ms to 10 ms at 2023-11-14 22:13:08 UTC."
    )


def test_a_tail_is_named_by_its_quantile(incidents: Incidents) -> None:
    alarm = latency(Phase.QUEUE, level=LEVELS.index(0.99))

    (incident,) = incidents.take("digits", "3", alarm, traces=[], now_ns=NOW_NS)

    assert "p99 rose from 9 ms to 20 ms" in incident.summary
    assert incident.before == pytest.approx(0.005)


def test_errors_are_told_as_shares(incidents: Incidents) -> None:
    (incident,) = incidents.take("digits", "3", ERRORS, traces=[], now_ns=NOW_NS)

    assert (incident.before, incident.after, incident.phase) == (0.001, 0.053, None)
    assert incident.summary.startswith("Errors of digits version 3 rose from at most 0.10% to 5.30% of requests")


def test_the_deepest_phase_is_to_blame_whatever_comes_first(incidents: Incidents) -> None:
    (first,) = incidents.take("digits", "3", latency(Phase.TOTAL), traces=["ab" * 16], now_ns=NOW_NS)
    (second,) = incidents.take("digits", "3", latency(Phase.COMPUTE_INFER), traces=[], now_ns=NOW_NS + NS)

    assert incidents.take("digits", "3", latency(Phase.QUEUE), traces=[], now_ns=NOW_NS + 2 * NS) == []

    assert (first.phase, second.phase) == (Phase.TOTAL, Phase.COMPUTE_INFER)
    assert (second.incident_id, second.open_ns, second.traces) == (first.incident_id, NOW_NS, first.traces)
    assert incidents.open == [second]


def test_an_incident_closes_when_every_phase_has_recovered(incidents: Incidents) -> None:
    for phase in (Phase.QUEUE, Phase.COMPUTE_INFER):
        incidents.take("digits", "3", latency(phase), traces=[], now_ns=NOW_NS)
    recovered = [
        incidents.take("digits", "3", Recovery(Signal.LATENCY, phase), traces=[], now_ns=NOW_NS + 60 * NS)
        for phase in (Phase.COMPUTE_INFER, Phase.QUEUE)
    ]

    assert recovered[0] == []
    (closed,) = recovered[1]
    assert closed.close_ns == NOW_NS + 60 * NS
    assert closed.summary.endswith("UTC; back to normal after 1.2 min.")
    assert incidents.open == []


def test_signals_and_versions_have_incidents_of_their_own(incidents: Incidents) -> None:
    incidents.take("digits", "3", ERRORS, traces=[], now_ns=NOW_NS)
    incidents.take("digits", "3", latency(Phase.QUEUE), traces=[], now_ns=NOW_NS)
    incidents.take("digits", "4", ERRORS, traces=[], now_ns=NOW_NS)

    assert len(incidents.open) == len({incident.incident_id for incident in incidents.open}) == 3


def test_a_version_without_traffic_closes_its_incidents(incidents: Incidents) -> None:
    incidents.take("digits", "3", ERRORS, traces=[], now_ns=NOW_NS)
    incidents.take("digits", "4", ERRORS, traces=[], now_ns=NOW_NS)
    incidents.saw_traffic("digits", "3", now_ns=NOW_NS + 10 * NS)

    assert incidents.close_idle(now_ns=NOW_NS + (IDLE_S - 1) * NS) == []
    (closed,) = incidents.close_idle(now_ns=NOW_NS + IDLE_S * NS)

    assert (closed.version, closed.is_open) == ("4", False)
    assert [incident.version for incident in incidents.open] == ["3"]


def test_a_recovery_without_an_incident_changes_nothing(incidents: Incidents) -> None:
    assert incidents.take("digits", "3", Recovery(Signal.ERROR_RATE, None), traces=[], now_ns=NOW_NS) == []


def test_an_incident_that_can_not_be_seen_to_end_says_so(incidents: Incidents) -> None:
    incidents.take("digits", "3", latency(Phase.QUEUE), traces=[], now_ns=NOW_NS)

    lost = Recovery(Signal.LATENCY, Phase.QUEUE, is_lost=True)
    (closed,) = incidents.take("digits", "3", lost, traces=[], now_ns=NOW_NS + 288 * NS)

    assert closed.summary.endswith("; lost sight of, as traffic became unlike any before, after 5 min.")


def test_an_adopted_incident_goes_on(incidents: Incidents) -> None:
    (incident,) = incidents.take("digits", "3", latency(Phase.QUEUE), traces=[], now_ns=NOW_NS)
    restarted = Incidents(BUDGET)

    restarted.adopt(incident, now_ns=NOW_NS + NS)

    assert restarted.take("digits", "3", latency(Phase.QUEUE), traces=[], now_ns=NOW_NS + 2 * NS) == []
    (closed,) = restarted.take("digits", "3", Recovery(Signal.LATENCY, Phase.QUEUE), traces=[], now_ns=NOW_NS + 3 * NS)
    assert (closed.incident_id, closed.is_open) == (incident.incident_id, False)


def test_ids_sort_by_time(incidents: Incidents) -> None:
    ids = [
        incidents.take("digits", str(n), ERRORS, traces=[], now_ns=NOW_NS + n * NS)[0].incident_id for n in range(20)
    ]

    assert ids == sorted(ids)


DEAD = Alarm(
    Signal.DEAD, None, 0.0, START_S - 5, 0, np.array([20.0]), np.array([0.0]),
    replica="a", cause=Cause.REPLICA, severity=Severity.TICKET,
)  # fmt: skip
QUEUEING = Alarm(
    Signal.QUEUEING, Phase.QUEUE, 0.0, START_S - 3, 0, np.array([1e6]), np.array([2e9]), cause=Cause.REPLICA
)


@pytest.mark.parametrize("alarms", [(DEAD, QUEUEING), (QUEUEING, DEAD)], ids=["ticket first", "page first"])
def test_a_page_is_told_whatever_is_deeper_and_stays_one(incidents: Incidents, alarms: tuple[Alarm, ...]) -> None:
    first, second = (
        incidents.take("digits", "3", alarm, traces=["ab" * 16], now_ns=NOW_NS + at * NS)[0]
        for at, alarm in enumerate(alarms)
    )

    assert (first.severity, second.severity) == (alarms[0].severity, Severity.PAGE)
    assert (second.incident_id, second.signal, second.replica) == (first.incident_id, Signal.DEAD, "a")
    assert "Replica a of digits version 3 is gone" in second.summary
    for again in alarms:
        assert incidents.take("digits", "3", again, traces=[], now_ns=NOW_NS + 9 * NS) == []


def test_a_page_that_is_no_deeper_is_told_beside_the_ticket(incidents: Incidents) -> None:
    incidents.take("digits", "3", DEAD, traces=[], now_ns=NOW_NS)
    (paged,) = incidents.take("digits", "3", QUEUEING, traces=["ab" * 16], now_ns=NOW_NS + NS)

    assert "is gone" in paged.summary
    assert "The queue of digits version 3 runs away" in paged.summary
    assert paged.traces == ("ab" * 16,)


INFER = Phase.COMPUTE_INFER
OF_REPLICA = replace(latency(INFER), replica="a", cause=Cause.REPLICA)
RECOVERIES = (Recovery(Signal.LATENCY, INFER), Recovery(Signal.LATENCY, INFER, replica="a"))


@pytest.mark.parametrize("recoveries", [RECOVERIES, RECOVERIES[::-1]], ids=["version first", "replica first"])
@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_replica_and_its_version_recover_each_for_itself(
    incidents: Incidents, recoveries: tuple[Recovery, ...], *, is_adopted: bool
) -> None:
    (opened,) = incidents.take("digits", "3", OF_REPLICA, traces=[], now_ns=NOW_NS)
    incidents.take("digits", "3", replace(OF_REPLICA, is_versions=True), traces=[], now_ns=NOW_NS)
    if is_adopted:
        incidents = Incidents(BUDGET)
        incidents.adopt(opened, now_ns=NOW_NS)
    first, second = (incidents.take("digits", "3", one, traces=[], now_ns=NOW_NS + NS) for one in recoveries)

    assert first == []
    assert [incident.is_open for incident in second] == [False]


def test_what_was_traced_to_a_replica_ends_with_the_version_that_raised_it(incidents: Incidents) -> None:
    errors = replace(ERRORS, replica="a", cause=Cause.REPLICA, is_versions=True)
    (opened,) = incidents.take("digits", "3", errors, traces=[], now_ns=NOW_NS)
    restarted = Incidents(BUDGET)
    restarted.adopt(opened, now_ns=NOW_NS)

    for one in (incidents, restarted):
        (closed,) = one.take("digits", "3", Recovery(Signal.ERROR_RATE, None), traces=[], now_ns=NOW_NS + NS)
        assert not closed.is_open


def test_only_a_replica_beside_its_siblings_is_slower_than_they_are() -> None:
    assert "became slower than its siblings'" in summarise("digits", "3", OF_REPLICA)
    assert "siblings" not in summarise("digits", "3", replace(OF_REPLICA, is_versions=True))
