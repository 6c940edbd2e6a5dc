"""Replicas beside their siblings: who is slow, how it is told, and who is there although it says little."""

from __future__ import annotations

import json

import numpy as np
import pytest

from services.monitor.domain import sketch
from services.monitor.domain.blocks import NS, Block, Pulse
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import COMPUTE_PHASES, Cause, Phase, Severity, Signal
from services.monitor.domain.reference import LEVELS as REFERENCE_LEVELS
from services.monitor.domain.replica import Replica, Siblings
from services.monitor.domain.replicas import Replicas
from services.monitor.domain.strata import quantiles_beside

BUDGET = Budget(false_alarms_per_week=1, series=200)
NAMES = ("a", "b", "c")
LEARNT_S = 60

Found = list[Alarm | Recovery]


def durations(infer_ms: float, batches: int) -> np.ndarray:
    counts = np.zeros((len(COMPUTE_PHASES), sketch.BINS), np.int64)
    counts[np.arange(3), sketch.bins_of(np.array([20_000, infer_ms * 1e6, 30_000]))] = batches
    return counts


def block(
    second: int, instance: str, *, infer_ms: float = 5.0, batches: int = 10, rows: int = 1, since: int | None = None
) -> Block:
    return Block(
        "digits",
        "1",
        second,
        np.array([batches, 0, 0]),
        instance=instance,
        since=second if since is None else since,
        executions=batches,
        compute_counts={rows.bit_length() - 1: durations(infer_ms, batches)},
    )


def pulse(instance: str, at_s: float, running_s: float) -> Pulse:
    return Pulse("digits", "1", instance, b"p" * 16, int(at_s * NS), False, int(running_s * NS), 1)


def run(replicas: Replicas, seconds: range, *, a: dict | None = None, others: dict | None = None) -> Found:
    """Blocks of all three replicas, with what is said of them; none of ``a`` where that is None."""
    found: Found = []
    for second in seconds:
        for name in NAMES if a is not None else NAMES[1:]:
            replicas.add(block(second, name, **((a or {}) if name == "a" else (others or {}))))
        found += replicas.judge()
    return found


@pytest.fixture
def replicas() -> Replicas:
    replicas = Replicas(BUDGET)
    assert run(replicas, range(1, LEARNT_S), a={}) == []
    return replicas


def test_a_slow_replica_is_told_by_a_quantile_that_its_siblings_have_too(replicas: Replicas) -> None:
    (alarm,) = run(replicas, range(60, 70), a={"infer_ms": 15.0})
    assert isinstance(alarm, Alarm)
    assert (alarm.phase, alarm.replica, alarm.cause) == (Phase.COMPUTE_INFER, "a", Cause.REPLICA)
    assert (alarm.severity, alarm.change_second) == (Severity.PAGE, 60)
    assert len(alarm.before) == len(alarm.after) == len(REFERENCE_LEVELS)
    assert REFERENCE_LEVELS[alarm.level] in (0.5, 0.9)
    assert alarm.before[alarm.level] == pytest.approx(5e6, rel=0.05)
    assert alarm.after[alarm.level] == pytest.approx(15e6, rel=0.05)
    found = run(replicas, range(70, 140), a={})
    assert {(one.replica, one.is_lost) for one in found if isinstance(one, Recovery)} == {("a", False)}


def test_siblings_of_other_seconds_are_compared_with_where_they_did_nothing_alike(replicas: Replicas) -> None:
    found: Found = []
    for turn in range(30, 45):
        run(replicas, range(2 * turn, 2 * turn + 1), a=None)
        replicas.add(block(2 * turn + 1, "a", infer_ms=15.0))
        replicas.add(block(2 * turn + 1, "b", rows=8, infer_ms=40.0))
        found += replicas.judge()
    alarm = next(one for one in found if isinstance(one, Alarm))
    assert alarm.before[alarm.level] == pytest.approx(5e6, rel=0.05)
    assert alarm.severity is Severity.PAGE


def test_one_that_is_a_little_slow_wakes_somebody_once_it_is_much_slower(replicas: Replicas) -> None:
    (ticket,) = run(replicas, range(60, 90), a={"infer_ms": 6.6})
    assert isinstance(ticket, Alarm)
    assert ticket.severity is Severity.TICKET
    (page,) = run(replicas, range(90, 110), a={"infer_ms": 50.0})
    assert isinstance(page, Alarm)
    assert (page.signal, page.replica, page.severity) == (Signal.LATENCY, "a", Severity.PAGE)
    assert page.after[page.level] > 3 * page.before[page.level]


@pytest.mark.parametrize("has_stream", [True, False])
def test_an_adopted_alarm_ends_when_the_replica_is_well_again(replicas: Replicas, *, has_stream: bool) -> None:
    restarted = Replicas(BUDGET)
    if has_stream:
        restarted.load(json.loads(json.dumps(replicas.dump())), second=LEARNT_S)
        assert restarted.dump() == {}, "until they are heard of"
    restarted.adopt_alarm(Signal.LATENCY, "a", second=LEARNT_S)
    found = run(restarted, range(60, 140), a={})
    assert set(found) == {Recovery(Signal.LATENCY, phase, replica="a") for phase in COMPUTE_PHASES}


def test_what_was_learnt_survives_being_stored(replicas: Replicas) -> None:
    stored, again = json.loads(json.dumps(replicas.dump())), Replicas(BUDGET)
    again.load(stored, second=LEARNT_S)
    run(again, range(60, 61), a={})
    assert set(again.dump()) == set(NAMES)
    assert again.dump()["a"]["reference"] == stored["a"]["reference"]
    stored["a"]["reference"] = [[0.1], [0.2], [1.0]]
    with pytest.raises(ValueError, match="expected 6"):
        Replicas(BUDGET).load(stored, second=LEARNT_S)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_replica_with_a_long_batch_is_not_gone_as_it_says_that_it_runs(*, is_told: bool) -> None:
    replicas, slow = Replicas(BUDGET), {"infer_ms": 1_500.0, "batches": 4}
    run(replicas, range(1, LEARNT_S), a=slow, others=slow)
    found: Found = []
    for second in range(60, 67):
        if is_told and second > 60:
            replicas.beat(pulse("a", second + 0.5, second + 0.5 - 60))
        found += run(replicas, range(second, second + 1), a=None, others=slow)
    found += run(replicas, range(67, 75), a=slow | {"since": 67}, others=slow)
    signals = [(type(one), one.signal, one.replica) for one in found]
    assert signals == ([] if is_told else [(Alarm, Signal.DEAD, "a"), (Recovery, Signal.DEAD, "a")])
    assert all(one.log_evalue == 0 for one in found if isinstance(one, Alarm)), "a rule found it"


def test_a_pulse_is_a_sign_of_life(replicas: Replicas) -> None:
    (dead,) = run(replicas, range(60, 66), a=None)
    replicas.beat(pulse("a", 66.5, 0.5))
    (back,) = run(replicas, range(66, 67), a=None)
    assert (dead.signal, back) == (Signal.DEAD, Recovery(Signal.DEAD, None, replica="a"))


def test_a_silence_is_told_that_is_longer_than_any_before() -> None:
    replicas = Replicas(BUDGET)
    run(replicas, range(1, 45), a={})
    assert run(replicas, range(45, 49), a=None) == []
    assert run(replicas, range(49, 1_500), a={}) == []
    assert run(replicas, range(1_500, 1_504), a=None) == []
    assert run(replicas, range(1_504, 1_510), a={}) == []
    (dead,) = run(replicas, range(1_510, 1_520), a=None)
    assert isinstance(dead, Alarm)
    assert (dead.signal, dead.change_second) == (Signal.DEAD, 1_510)


def test_siblings_are_all_but_one() -> None:
    three = [Replica(name) for name in NAMES]
    for number, replica in enumerate(three):
        for second in range(3):
            replica.add(block(second, replica.instance, batches=number + 1))
    siblings = Siblings(three)
    assert siblings.of(three[1], since=1)[0][0].sum() == 2 * (1 + 3)
    assert siblings.of(three[2], since=0)[0][0].sum() == 3 * (1 + 2)
    assert Siblings(three[:1]).of(three[0], since=0) == {}


def test_sizes_of_batches_count_alike_on_both_sides() -> None:
    siblings = {0: durations(5.0, 100), 3: durations(40.0, 1), 5: durations(300.0, 50)}
    own = {0: durations(5.0, 1), 3: durations(40.0, 9), 6: durations(900.0, 9)}
    before, after = quantiles_beside(siblings, own, Phase.COMPUTE_INFER, (0.5, 0.99))
    assert before.tolist() == after.tolist() == pytest.approx([40e6, 40e6], rel=0.05)
    nothing, _ = quantiles_beside({}, own, Phase.COMPUTE_INFER, (0.5,))
    assert nothing.tolist() == [0.0]
