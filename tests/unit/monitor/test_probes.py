"""Who doesn't answer what it should, by rules: a replica beside its siblings, or the version."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from services.monitor.domain.blocks import NS
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.incidents import IDLE_PROBES_S, IDLE_S, Incident, Incidents
from services.monitor.domain.phases import Cause, Severity, Signal
from services.monitor.domain.probe_book import MAX_VERSIONS, ProbeBook
from services.monitor.domain.probe_reports import Answer, ProbeOutcome, ProbeReport
from services.monitor.domain.probes import GONE_NS, MAX_REPLICAS, VersionProbes

NOW_NS = 1_700_000_000 * NS
GOOD, OTHER = "a" * 64, "b" * 64


def answer(*values: float, slack: float = 1e-3, exact: str = "e" * 64) -> Answer:
    return Answer(exact, np.array(values), np.full(len(values), slack))


RIGHT, WRONG = answer(0.1, 0.9), answer(0.4, 0.6)


def report(
    replica: str,
    *,
    second: int = 0,
    outcome: ProbeOutcome = ProbeOutcome.PASS,
    of: Answer = RIGHT,
    worst: float = 0.0,
    detail: str = "",
    device: str = "cpu",
    weights: str = GOOD,
    expected: str = GOOD,
    version: str = "1",
) -> ProbeReport:
    number = sum(replica.encode()) % 256
    return ProbeReport(
        "m", version, replica, bytes([number]) * 16, NOW_NS + second * NS, outcome, device, "y" if detail else "",
        worst, detail, of, weights, expected,
    )  # fmt: skip


def judged(probes: VersionProbes, *reports: ProbeReport, second: int = 60) -> list[Alarm | Recovery]:
    for one in reports:
        probes.take(one)
    return list(probes.judge(NOW_NS + second * NS))


def named(findings: Sequence[Alarm | Recovery]) -> list[tuple[str, str, Cause | None]]:
    return [(type(one).__name__, one.replica, getattr(one, "cause", None)) for one in findings]


@pytest.fixture
def probes() -> VersionProbes:
    """Of three replicas that answer what they should."""
    probes = VersionProbes()
    assert judged(probes, *map(report, "abc")) == []
    return probes


def test_a_replica_that_changed_after_its_load_is_named_once_and_recovers(probes: VersionProbes) -> None:
    bad = report("b", second=30, outcome=ProbeOutcome.FAIL, of=WRONG, worst=0.33, detail="output 'y' differs")
    (alarm,) = judged(probes, bad)
    assert isinstance(alarm, Alarm)
    assert (alarm.signal, alarm.replica, alarm.cause) == (Signal.PROBE, "b", Cause.REPLICA)
    assert (alarm.severity, alarm.log_evalue, float(alarm.after[0])) == (Severity.PAGE, 0.0, 0.33)
    assert alarm.traces == (bad.trace_id,)
    assert len(alarm.innocent) == 2

    assert judged(probes, report("b", second=60, outcome=ProbeOutcome.FAIL, of=WRONG)) == []
    assert named(judged(probes, report("b", second=90), second=120)) == [("Recovery", "b", None)]


def test_a_replica_that_was_wrong_from_its_load_is_found_beside_its_siblings(probes: VersionProbes) -> None:
    (alarm,) = judged(probes, report("d", of=WRONG))
    assert isinstance(alarm, Alarm)
    assert (alarm.replica, alarm.cause) == ("d", Cause.REPLICA)
    assert "unlike the version did before: it differs in 2 of 2 numbers, the furthest by 0.3" in alarm.note


def test_the_first_of_three_may_be_the_odd_one_out() -> None:
    probes = VersionProbes()
    assert judged(probes, report("a", of=WRONG)) == []
    assert named(judged(probes, report("b"))) == [("Alarm", "b", Cause.REPLICA)]
    assert named(judged(probes, report("c"))) == [("Alarm", "a", Cause.REPLICA), ("Recovery", "b", None)]


def test_all_replicas_make_it_the_versions_fault(probes: VersionProbes) -> None:
    bad = [report(name, second=30, outcome=ProbeOutcome.ERROR, detail="no memory") for name in "abc"]
    assert named(judged(probes, *bad[:2])) == [("Alarm", "a", Cause.REPLICA), ("Alarm", "b", Cause.REPLICA)]
    assert named(judged(probes, bad[2])) == [("Alarm", "c", Cause.REPLICA), ("Alarm", "", Cause.VERSION)]

    findings = judged(probes, *(report(name, second=90) for name in "abc"), second=120)
    assert named(findings) == [("Recovery", name, None) for name in ("a", "b", "c", "")]


def test_other_files_than_the_registrys_are_a_fault_whatever_the_answer(probes: VersionProbes) -> None:
    (alarm,) = judged(probes, report("c", second=30, weights=OTHER))
    assert isinstance(alarm, Alarm)
    assert alarm.replica == "c"
    assert f"other files than its version has: their digest is {OTHER[:12]}…, expected {GOOD[:12]}…" in alarm.note


def test_without_the_registrys_digest_siblings_decide() -> None:
    probes = VersionProbes()
    reports = [report(name, weights=OTHER if name == "b" else GOOD, expected="") for name in "abc"]
    assert named(judged(probes, *reports)) == [("Alarm", "b", Cause.REPLICA)]
    two = VersionProbes()
    assert judged(two, *reports[:2]) == [], "nobody knows which of two is right"


def test_a_wrong_replica_sets_no_standard() -> None:
    probes = VersionProbes()
    assert named(judged(probes, report("a", of=WRONG, weights=OTHER))) == [("Alarm", "a", Cause.REPLICA)]
    assert judged(probes, report("b")) == []


def test_kinds_of_devices_are_not_compared(probes: VersionProbes) -> None:
    assert judged(probes, report("d", of=WRONG, device="cuda:0"), report("e", of=WRONG, device="cuda:1")) == []
    assert named(judged(probes, report("f", device="cuda:2"))) == [("Alarm", "f", Cause.REPLICA)]


def test_what_can_not_be_probed_is_no_fault(probes: VersionProbes) -> None:
    skipped = report("d", outcome=ProbeOutcome.SKIP, of=Answer(), detail="it doesn't repeat itself")
    assert judged(probes, skipped) == []


def test_a_replica_that_stops_or_falls_silent_is_at_fault_no_more(probes: VersionProbes) -> None:
    judged(probes, report("a", second=30, of=WRONG), report("b", second=30, of=WRONG))
    probes.forget("a")
    (stopped,) = judged(probes)
    assert isinstance(stopped, Recovery)
    assert (stopped.replica, stopped.is_lost) == ("a", True)
    later = 31 + GONE_NS // NS
    findings = judged(probes, report("c", second=later), second=later)
    assert named(findings) == [("Recovery", "b", None)]


def test_an_older_report_that_comes_late_changes_nothing(probes: VersionProbes) -> None:
    judged(probes, report("a", second=30))
    assert judged(probes, report("a", second=10, of=WRONG)) == []


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (answer(1.0), answer(1.0 + 9e-4), True),
        (answer(1.0), answer(1.0 + 2e-3), False),
        (answer(math.nan, math.inf), answer(math.nan, math.inf), True),
        (answer(math.nan), answer(1.0), False),
        (answer(1.0), answer(math.inf), False),
        (answer(math.inf), answer(-math.inf), False),
        (answer(1.0), answer(1.0, 2.0), False),
        (answer(1.0), answer(1.0, exact="f" * 64), False),
        (answer(1.0, slack=0), answer(1.5, slack=1), True),
    ],
)
def test_answers_agree_within_slack(one: Answer, other: Answer, *, is_same: bool) -> None:
    assert [not one.differs(other), not other.differs(one)] == [is_same] * 2


def test_golden_answers_outlive_a_restart() -> None:
    book, restarted = ProbeBook(), ProbeBook()
    book.take(report("a", of=answer(0.1, math.nan)))
    stored = {version: json.dumps(golden, allow_nan=False) for version, golden in book.dump().items()}
    restarted.load({version: json.loads(text) for version, text in stored.items()})
    restarted.take(report("b", of=answer(0.1, math.nan)))
    assert list(restarted.judge(NOW_NS)) == []
    restarted.take(report("c", of=answer(0.3, math.nan)))
    assert [finding.replica for _, finding in restarted.judge(NOW_NS)] == ["c"]


def test_an_alarm_outlives_a_restart() -> None:
    book = ProbeBook()
    book.adopt_alarm(("m", "1"), "a", now_ns=NOW_NS)
    book.take(report("b"))
    assert list(book.judge(NOW_NS)) == []
    book.take(report("a", second=5))
    assert [finding.replica for _, finding in book.judge(NOW_NS)] == ["a"]


def test_memory_is_bounded() -> None:
    book = ProbeBook()
    for number in range(MAX_VERSIONS + 5):
        book.take(report("a", version=str(number)))
    assert len(book.states(model="m")) == MAX_VERSIONS
    for number in range(MAX_REPLICAS + 5):
        book.take(report(f"r{number}", version="1000"))
    assert sum(state.report.version == "1000" for state in book.states(model="")) == MAX_REPLICAS


class Stage:
    """Probes and incidents, as the analysis wires them."""

    def __init__(self) -> None:
        self.probes = VersionProbes()
        self.incidents = Incidents(Budget(false_alarms_per_week=1, series=200))

    def __call__(self, *reports: ProbeReport, second: int = 60) -> list[Incident]:
        return [
            incident
            for finding in judged(self.probes, *reports, second=second)
            for incident in self.incidents.take("m", "1", finding, traces=[], now_ns=NOW_NS + second * NS)
        ]


def test_the_incident_says_who_what_and_whether_the_others_are_well() -> None:
    stage = Stage()
    failing = report(
        "node.m.1.0@x.1", outcome=ProbeOutcome.FAIL, of=WRONG, worst=0.33, detail="output 'y' differs by 3.3e-01"
    )
    (incident,) = stage(report("b"), failing)

    assert incident.summary == (
        "Replica node.m.1.0 of m version 1 answers its golden probe otherwise than after its load: "
        "output 'y' differs by 3.3e-01, at 2023-11-14 22:13:20 UTC; its siblings answer as ever."
    )
    assert (incident.signal, incident.cause, incident.severity) == (Signal.PROBE, Cause.REPLICA, Severity.PAGE)
    assert (incident.is_certain, incident.after, incident.replica) == (True, 0.33, "node.m.1.0@x.1")

    (closed,) = stage(report("node.m.1.0@x.1", second=40), second=80)
    assert not closed.is_open
    assert closed.summary.endswith("; back to normal after 1.33 min.")


def test_a_failing_replica_that_nobody_calls_stays_a_matter_until_it_is_long_gone() -> None:
    stage = Stage()
    (incident,) = stage(report("a", outcome=ProbeOutcome.ERROR, detail="no memory"))

    assert stage.incidents.close_idle(now_ns=NOW_NS + IDLE_S * 2 * NS) == []
    (closed,) = stage.incidents.close_idle(now_ns=NOW_NS + (60 + IDLE_PROBES_S) * NS)
    assert closed.incident_id == incident.incident_id


def test_golden_probes_keep_no_incident_open_of_a_version_that_nobody_calls() -> None:
    stage = Stage()
    errors = Alarm(Signal.ERROR_RATE, None, 21.0, NOW_NS // NS, 0, np.array([0.001]), np.array([0.053]))
    stage.incidents.take("m", "1", errors, traces=[], now_ns=NOW_NS)
    stage(report("a", outcome=ProbeOutcome.ERROR, detail="no memory"))
    later_ns = NOW_NS + (60 + IDLE_PROBES_S) * NS
    for second in range(0, IDLE_PROBES_S, 30):
        stage.incidents.saw_probe("m", "1", now_ns=NOW_NS + second * NS)

    (closed,) = stage.incidents.close_idle(now_ns=later_ns)
    assert (closed.signal, "was no more traffic" in closed.summary) == (Signal.ERROR_RATE, True)

    stage.incidents.saw_traffic("m", "1", now_ns=later_ns)
    (closed,) = stage.incidents.close_idle(now_ns=later_ns + IDLE_PROBES_S * NS)
    assert (closed.signal, "were no more probes" in closed.summary) == (Signal.PROBE, True)


def test_one_incident_moves_from_a_replica_to_the_version() -> None:
    stage = Stage()
    fault = {"outcome": ProbeOutcome.ERROR, "detail": "no memory"}
    (first,) = stage(report("a", **fault), report("b"))  # type: ignore[arg-type]
    (second,) = stage(report("b", second=5, **fault))  # type: ignore[arg-type]

    assert (second.incident_id, second.cause, second.replica) == (first.incident_id, Cause.VERSION, "")
    assert second.summary.startswith("m version 1 fails on its golden probe: no memory, at ")
    assert second.summary.endswith("; all of its 2 replicas do.")
    assert stage(report("a", second=50), second=61) == []
    (closed,) = stage(report("b", second=55), second=62)
    assert not closed.is_open
