"""Simulated fleets: each fault is found and named rightly, and what is no fault raises nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from services.monitor.domain import content
from services.monitor.domain.evidence import SECONDS_PER_WEEK, Budget
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Cause, Phase, Severity, Signal
from services.monitor.domain.watches import LEARN_SLOTS
from services.monitor.evaluation.replay import Change, Replay
from services.monitor.evaluation.stream import Faults, SpanStream, Traffic

AT_S = 90
"""When faults begin, and all is learnt."""


def run(traffic: Traffic, *, until_s: int, replay: Replay | None = None) -> list[Change]:
    return (replay or Replay()).run(SpanStream(traffic).run(until_s=until_s))


def at(value: float, replica: int | None = None, *, until_s: float = 1e9, usual: float = 0.0) -> Any:
    """A fault of one replica, or of all, from ``AT_S`` on."""
    return lambda t, number: value if AT_S <= t < until_s and replica in (None, number) else usual


def skewed(t: float) -> np.ndarray:
    """One class in ten comes five times as often."""
    weights = np.ones(10)
    weights[3] = 5 if t >= AT_S else 1
    return weights / weights.sum()


@dataclass(frozen=True)
class Expected:
    signals: frozenset[Signal]
    cause: Cause
    within_s: float
    replica: int | None = None
    phase: Phase | None = None
    severity: Severity = Severity.PAGE


def one_of(*signals: Signal) -> frozenset[Signal]:
    return frozenset(signals)


ANSWERS = one_of(Signal.CONFIDENCE, Signal.ENTROPY, Signal.CLASS_MIX)
FAULTS: dict[str, tuple[Traffic, Expected]] = {
    "a replica three times slower": (
        Traffic(rate=lambda _: 60, faults=Faults(slowdown=at(3.0, 1, usual=1.0))),
        Expected(one_of(Signal.LATENCY), Cause.REPLICA, 5, 1, Phase.COMPUTE_INFER),
    ),
    "a replica half as slow again": (
        Traffic(rate=lambda _: 60, faults=Faults(slowdown=at(1.5, 2, usual=1.0))),
        Expected(one_of(Signal.LATENCY), Cause.REPLICA, 15, 2, Phase.COMPUTE_INFER),
    ),
    "all replicas twice as slow": (
        Traffic(rate=lambda _: 60, base_s=0.01, faults=Faults(slowdown=at(2.0, usual=1.0))),
        Expected(one_of(Signal.LATENCY), Cause.VERSION, 30, None, Phase.COMPUTE_INFER),
    ),
    "a stuck replica": (
        Traffic(rate=lambda _: 60, faults=Faults(is_stuck=at(1.0, 0))),
        Expected(one_of(Signal.STUCK), Cause.REPLICA, 5, 0),
    ),
    "a dead replica": (
        Traffic(rate=lambda _: 60, faults=Faults(is_dead=at(1.0, 0))),
        Expected(one_of(Signal.DEAD), Cause.REPLICA, 10, 0, severity=Severity.TICKET),
    ),
    "a surge over what can be served": (
        Traffic(
            rate=lambda t: 900 if t >= AT_S else 60, replicas=2, max_batch=lambda _: 1, faults=Faults(),
        ),
        Expected(one_of(Signal.QUEUEING), Cause.ARRIVALS, 10, None, Phase.QUEUE),
    ),
    "wrong weights": (
        Traffic(rate=lambda _: 60, faults=Faults(wrong_weights=at(1.0))),
        Expected(ANSWERS, Cause.VERSION, 12),
    ),
    "wrong weights on one replica": (
        Traffic(rate=lambda _: 60, faults=Faults(wrong_weights=at(1.0, 2))),
        Expected(ANSWERS, Cause.REPLICA, 20, 2),
    ),
    "less confidence": (
        Traffic(rate=lambda _: 60, faults=Faults(less_confident=at(1.0))),
        Expected(one_of(Signal.CONFIDENCE, Signal.ENTROPY), Cause.VERSION, 15),
    ),
    "a shift of labels": (
        Traffic(rate=lambda _: 60, prior=skewed),
        Expected(frozenset({*ANSWERS, Signal.INPUTS}), Cause.INPUTS, 30, severity=Severity.TICKET),
    ),
    "inputs scaled wrongly": (
        Traffic(rate=lambda _: 60, faults=Faults(input_shift=lambda t: 2.0 if t >= AT_S else 0.0)),
        Expected(frozenset({*ANSWERS, Signal.INPUTS}), Cause.INPUTS, 12, severity=Severity.TICKET),
    ),
    "answers that are no numbers": (
        Traffic(rate=lambda _: 60, faults=Faults(nonfinite=at(0.2))),
        Expected(one_of(Signal.NONFINITE), Cause.VERSION, 3),
    ),
    "answers of one replica that are no numbers": (
        Traffic(rate=lambda _: 60, faults=Faults(nonfinite=at(1.0, 1))),
        Expected(one_of(Signal.NONFINITE), Cause.REPLICA, 3, 1),
    ),
    "a burst of errors": (
        Traffic(rate=lambda _: 60, faults=Faults(errors=at(0.05))),
        Expected(one_of(Signal.ERROR_RATE), Cause.VERSION, 20),
    ),
    "errors of one replica": (
        Traffic(rate=lambda _: 60, faults=Faults(errors=at(0.3, 2))),
        Expected(one_of(Signal.ERROR_RATE), Cause.REPLICA, 12, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("traffic", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_found_and_named(traffic: Traffic, expected: Expected) -> None:
    stream = SpanStream(traffic)
    changes = Replay().run(stream.run(until_s=AT_S + int(expected.within_s) + 10))

    assert [change.at_s for change in changes if change.at_s <= AT_S] == []
    named = [change for change in changes if _is_named(change.incident, expected)]
    assert named, [change.incident.summary for change in changes]
    assert named[0].at_s - AT_S <= expected.within_s + 1  # spans come a second after the second they tell of
    assert len({change.incident.incident_id for change in changes}) == 1, [one.incident.summary for one in changes]
    incident = changes[-1].incident
    assert abs(incident.change_ns / 1e9 % 1e6 - (1_700_000_000 + AT_S) % 1e6) <= 4
    affected = [bytes.fromhex(trace) in stream.affected for trace in incident.traces]
    assert expected.cause is Cause.ARRIVALS or not affected or np.mean(affected) >= 0.8
    assert not any(bytes.fromhex(trace) in stream.affected for trace in incident.innocent_traces)


def _is_named(incident: Incident, expected: Expected) -> bool:
    replica = incident.replica.partition("@")[0]
    return (
        incident.signal in expected.signals
        and incident.cause is expected.cause
        and incident.severity is expected.severity
        and incident.phase is expected.phase
        and replica == ("" if expected.replica is None else f"node.{expected.replica}")
    )


BENIGN: dict[str, Callable[[], Traffic]] = {
    "nothing": lambda: Traffic(rate=lambda _: 30),
    "two replicas, three, and two again": lambda: Traffic(
        rate=lambda _: 30, faults=Faults(is_away=lambda t, n: float(n == 2 and not 90 <= t < 130))
    ),
    "load doubles inside what can be served": lambda: Traffic(rate=lambda t: 25 if t < 90 else 50),
    "load falls to a tenth": lambda: Traffic(rate=lambda t: 60 if t < 90 else 6),
    "larger batches are allowed": lambda: Traffic(rate=lambda _: 30, max_batch=lambda t: 2 if t < 90 else 32),
    "a tenth of the spans is lost": lambda: Traffic(rate=lambda _: 30, faults=Faults(lost_spans=0.1)),
    "spans of one replica are late": lambda: Traffic(
        rate=lambda _: 30, faults=Faults(late_s=lambda t, n: 2.0 if n == 1 and t >= 90 else 0.0)
    ),
    "spans of one replica are very late": lambda: Traffic(
        rate=lambda _: 30, faults=Faults(late_s=lambda t, n: 30.0 if n == 1 and t >= 90 else 0.0)
    ),
    "a clock is ahead by 200 ms": lambda: Traffic(
        rate=lambda _: 30, faults=Faults(skew_s=lambda _, n: 0.2 if n == 1 else 0.0)
    ),
    "one replica has always been slower": lambda: Traffic(
        rate=lambda _: 30, faults=Faults(slowdown=lambda _, n: 1.5 if n == 1 else 1.0)
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("traffic", BENIGN.values(), ids=BENIGN.keys())
def test_what_is_no_fault_raises_no_page(traffic: Callable[[], Traffic]) -> None:
    pages = [one for one in run(traffic(), until_s=160) if one.incident.severity is Severity.PAGE]
    assert [one.incident.summary for one in pages] == []


@pytest.mark.long
def test_false_alarms_are_no_more_frequent_than_declared() -> None:
    """With a budget so large that there would be many: one in 400 observations of each stream."""
    run_length = 400.0
    alarms = observations = 0
    for seed in range(3):
        replay = Replay(budget=Budget(false_alarms_per_week=40 * SECONDS_PER_WEEK / run_length, series=40))
        traffic = Traffic(rate=lambda t: 15 + 5 * np.sin(t / 20), replicas=2, seed=seed)
        changes = run(traffic, until_s=400, replay=replay)
        alarms += len([one for one in changes if one.incident.is_open])
        observations += (400 - LEARN_SLOTS) * 12
    assert alarms <= observations / run_length


def test_an_identical_version_raises_nothing() -> None:
    replay = Replay()
    old, new = (
        SpanStream(Traffic(rate=lambda _: 40, version=version, seed=seed)) for version, seed in (("1", 1), ("2", 8))
    )
    changes = []
    for (now_ns, spans), (_, others) in zip(old.run(until_s=150), new.run(until_s=150), strict=True):
        changes += list(replay.take(now_ns, [*spans, *others]))
    assert changes == []


def test_an_incident_outlives_the_monitor_and_ends_with_the_fault() -> None:
    traffic = Traffic(rate=lambda _: 30, faults=Faults(wrong_weights=at(1.0, until_s=130)))
    stream, replay = SpanStream(traffic), Replay()
    changes = []
    for second, (now_ns, spans) in enumerate(stream.run(until_s=200)):
        changes += list(replay.take(now_ns, spans))
        if second == 110:
            replay.restart()
    opened, closed = changes[0].incident, changes[-1].incident
    assert opened.incident_id == closed.incident_id
    assert "back to normal" in closed.summary
    assert {change.incident.incident_id for change in changes} == {opened.incident_id}


def test_a_restart_of_the_monitor_is_silent_and_forgets_nothing() -> None:
    traffic = Traffic(rate=lambda _: 30, faults=Faults(slowdown=lambda t, n: 3.0 if t >= 120 and n == 1 else 1.0))
    stream, replay = SpanStream(traffic), Replay()
    changes = []
    for second, (now_ns, spans) in enumerate(stream.run(until_s=130)):
        changes += list(replay.take(now_ns, spans))
        if second == 100:
            replay.restart()
    assert [change.incident.signal for change in changes][:1] == [Signal.LATENCY]
    assert changes[0].at_s >= 120
    assert changes[0].incident.replica.startswith("node.1")


def test_changed_inputs_become_the_usual_ones_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "ADOPT_S", 40)
    traffic = Traffic(rate=lambda _: 30, replicas=1, faults=Faults(input_shift=lambda t: 2.0 if t >= AT_S else 0.0))
    changes = run(traffic, until_s=AT_S + 70)
    assert [change.incident.is_open for change in changes][-1:] == [False]
    assert all(change.incident.cause is Cause.INPUTS for change in changes[-1:])


def test_tests_that_ask_the_same_over_and_over_are_no_traffic_to_learn_from() -> None:
    stream, replay = SpanStream(Traffic(rate=lambda _: 40, replicas=1)), Replay()
    changes = []
    for second, (now_ns, spans) in enumerate(stream.run(until_s=140)):
        alike = [
            replace(one, sketch=np.full(len(one.sketch) // 4, 1.0 if second < 100 else 5.0, "<f4").tobytes())
            for one in spans
        ]
        changes += list(replay.take(now_ns, alike))
    assert changes == []
