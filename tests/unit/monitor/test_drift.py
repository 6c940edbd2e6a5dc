"""What is told of each watched figure: where it stands, what is normal of it, what it is now, and its evidence."""

from __future__ import annotations

import numpy as np
import pytest

from services.monitor import drift_messages
from services.monitor.domain.drift.version import watched
from services.monitor.domain.drift.watched import WINDOW_S, Histogram, Part, State, Watched, most_moved
from services.monitor.domain.phases import Phase, Signal
from services.monitor.domain.watches import INPUT_BINS
from services.monitor.evaluation.replay import Replay
from services.monitor.evaluation.stream import FEATURES, START_S, Faults, SpanStream, Traffic

Key = tuple[Signal, Phase | None, str]
LEARNT_S = 80
VERSION = ("digits", "1")


def seen(traffic: Traffic, *, until_s: int, idle_s: float = 0.0, replay: Replay | None = None) -> dict[Key, Watched]:
    """What is watched after so much traffic, and after nothing came for a while."""
    replay = replay or Replay()
    replay.run(SpanStream(traffic).run(until_s=until_s))
    return look(replay, idle_s=idle_s)


def look(replay: Replay, *, idle_s: float = 0.0) -> dict[Key, Watched]:
    figures = watched(replay.analysis.detectors[VERSION], now_s=replay.now_ns / 1e9 + idle_s)
    assert figures == sorted(figures, key=lambda one: one.urgency, reverse=True)
    return {(one.signal, one.phase if not one.replica else None, one.replica): one for one in figures}


@pytest.fixture(scope="module")
def normal() -> dict[Key, Watched]:
    return seen(Traffic(rate=lambda _: 60), until_s=LEARNT_S)


def test_everything_is_watched_once_it_is_learnt(normal: dict[Key, Watched]) -> None:
    signals = {Signal.CONFIDENCE, Signal.ENTROPY, Signal.CLASS_MIX, Signal.INPUTS}
    ours = {key for key in normal if not key[2]}
    assert ours == {
        (Signal.ERROR_RATE, None, ""),
        (Signal.TRACE_SHAPE, None, ""),
        *((Signal.LATENCY, phase, "") for phase in Phase),
        *((signal, None, "") for signal in signals),
    }
    replicas = [key[2].partition("@")[0] for key in normal if key[2]]
    assert sorted(replicas) == ["node.0", "node.1", "node.2"]
    assert {one.state for one in normal.values()} == {State.WATCHING}
    for one in normal.values():
        assert one.learnt.is_done
        assert one.needed > one.log_evalue
        assert one.count > 0
        assert one.reason == ""


def test_a_figure_is_near_what_is_normal_of_it(normal: dict[Key, Watched]) -> None:
    infer = normal[Signal.LATENCY, Phase.COMPUTE_INFER, ""]
    assert infer.unit == "s"
    assert [part.label for part in infer.parts] == ["p50", "p10", "p90", "p99"]
    assert infer.parts[0].normal == pytest.approx(0.0045, rel=0.2)
    assert infer.parts[0].now == pytest.approx(infer.parts[0].normal, rel=0.2)
    confidence = normal[Signal.CONFIDENCE, None, ""]
    assert confidence.label == "median"
    assert confidence.now == pytest.approx(confidence.normal, rel=0.1)
    assert confidence.histogram is not None
    assert confidence.histogram.distance < 0.15
    classes = normal[Signal.CLASS_MIX, None, ""]
    assert len(classes.parts) == 10
    assert sum(part.normal for part in classes.parts) == pytest.approx(1)
    inputs = normal[Signal.INPUTS, None, ""]
    assert [part.label for part in inputs.parts] == [f"feature {number}" for number in range(FEATURES)]
    assert all(part.histogram is not None and part.histogram.distance < 0.1 for part in inputs.parts)


def test_what_parts_add_is_the_evidence(normal: dict[Key, Watched]) -> None:
    for one in normal.values():
        if one.parts and one.signal is not Signal.CLASS_MIX:  # of which classes that never came are left out
            assert np.logaddexp.reduce([part.log_evalue for part in one.parts]) == pytest.approx(one.log_evalue)


def test_histograms_are_shares_with_an_end_for_each_bin_but_the_last(normal: dict[Key, Watched]) -> None:
    histograms = [one.histogram for one in normal.values()]
    histograms += [part.histogram for one in normal.values() for part in one.parts]
    found = [one for one in histograms if one is not None]
    assert len(found) == 2 + FEATURES
    for one in found:
        assert one.now is not None
        assert len(one.edges) + 1 == len(one.normal) == len(one.now) <= INPUT_BINS
        assert one.normal.sum() == pytest.approx(1)
        assert one.now.sum() == pytest.approx(1)
        assert (np.diff(one.edges) > 0).all()


def test_while_it_is_learnt_it_says_how_far_that_is() -> None:
    figures = seen(Traffic(rate=lambda _: 60), until_s=25)
    total = figures[Signal.LATENCY, Phase.TOTAL, ""]
    assert (total.state, total.normal, total.log_evalue) == (State.LEARNING, None, 0)
    assert 5 < total.learnt.seconds < total.learnt.needed == 30
    assert total.reason == f"{total.learnt.seconds} of 30 seconds of like load seen"
    inputs = figures[Signal.INPUTS, None, ""]
    assert inputs.state is State.LEARNING
    assert inputs.learnt.needed == 60
    assert "of 500 requests seen" in inputs.reason
    errors = figures[Signal.ERROR_RATE, None, ""]
    assert errors.state is State.LEARNING
    assert "until then 5% is the limit" in errors.reason


def test_requests_that_are_all_alike_are_said_to_be() -> None:
    traffic = Traffic(rate=lambda _: 60)
    replay = Replay()
    for now_ns, observations in SpanStream(traffic).run(until_s=LEARNT_S):
        for one in observations:
            if sketch := getattr(one, "sketch", b""):
                one.sketch = bytes(len(sketch))
        list(replay.take(now_ns, observations))
    inputs = look(replay)[Signal.INPUTS, None, ""]
    assert (inputs.state, inputs.reason) == (State.LEARNING, "requests are all alike: nothing to learn from")


def test_inputs_that_move_are_shown_then_and_now() -> None:
    shifted = Faults(input_shift=lambda t: 2.0 if t >= LEARNT_S else 0.0)
    figures = seen(Traffic(rate=lambda _: 60, faults=shifted), until_s=LEARNT_S + 40)
    inputs = figures[Signal.INPUTS, None, ""]
    assert inputs.state is State.ALARMED
    shown = next(part for part in inputs.parts if part.label == inputs.label)
    assert shown.histogram is not None
    assert shown.histogram.distance > 0.4
    assert shown.histogram.distance == max(part.histogram.distance for part in inputs.parts if part.histogram)
    assert inputs.now is not None
    assert inputs.normal is not None
    assert inputs.now - inputs.normal > 0.5


def test_a_slow_replica_is_in_alarm_and_its_siblings_are_not() -> None:
    slow = Faults(slowdown=lambda t, number: 3.0 if t >= LEARNT_S and number == 1 else 1.0)
    figures = seen(Traffic(rate=lambda _: 60, faults=slow), until_s=LEARNT_S + 20)
    replicas = {key[2].partition("@")[0]: one for key, one in figures.items() if key[2]}
    assert {name: one.state for name, one in replicas.items()} == {
        "node.0": State.WATCHING,
        "node.1": State.ALARMED,
        "node.2": State.WATCHING,
    }
    guilty = replicas["node.1"]
    assert guilty.phase is Phase.COMPUTE_INFER
    assert guilty.normal is not None
    assert guilty.now is not None
    assert guilty.normal < 0.2 < 0.8 < guilty.now
    assert next(iter(figures.values())) is guilty, "what is in alarm comes first"


@pytest.mark.parametrize(
    ("fault", "signal"),
    [
        (Faults(is_dead=lambda t, number: float(t >= LEARNT_S and number == 1)), Signal.DEAD),
        (Faults(is_stuck=lambda t, number: float(t >= LEARNT_S and number == 1)), Signal.STUCK),
        (Faults(nonfinite=lambda t, number: float(t >= LEARNT_S and number == 1)), Signal.NONFINITE),
    ],
)
def test_rules_are_told_while_they_are_broken(fault: Faults, signal: Signal, normal: dict[Key, Watched]) -> None:
    assert signal not in {key[0] for key in normal}
    figures = seen(Traffic(rate=lambda _: 60, faults=fault), until_s=LEARNT_S + 20)
    (found,) = [one for key, one in figures.items() if key[0] is signal]
    assert (found.state, found.replica.partition("@")[0], found.needed) == (State.ALARMED, "node.1", 0)
    assert found.reason


def test_a_version_that_nobody_asks_is_not_seen() -> None:
    figures = seen(Traffic(rate=lambda _: 60), until_s=LEARNT_S, idle_s=2 * WINDOW_S)
    assert {one.state for one in figures.values()} == {State.BLIND}
    assert figures[Signal.LATENCY, Phase.TOTAL, ""].reason == "no requests in the last minute"
    assert all(one.reason and one.now is None for one in figures.values())


@pytest.mark.parametrize(
    ("base_s", "reason"),
    [(0.001, "load of a kind that isn't known yet"), (0.005, "of the time: waits depend on load alone")],
)
def test_it_says_why_waits_can_not_be_judged(base_s: float, reason: str) -> None:
    replay = Replay()
    traffic = Traffic(
        rate=lambda t: 60 if t < LEARNT_S else 190, replicas=1, base_s=base_s, per_row_s=0.0, max_batch=lambda _: 1
    )
    replay.run(SpanStream(traffic).run(until_s=LEARNT_S + 5))
    detectors = replay.analysis.detectors[VERSION]
    # As if a minute had passed: what was judged under another load is not of now.
    total = next(
        one
        for one in watched(detectors, now_s=detectors.judged_second + WINDOW_S)
        if (one.signal, one.phase) == (Signal.LATENCY, Phase.TOTAL)
    )
    assert total.state is State.BLIND
    assert reason in total.reason


def test_what_is_normal_is_known_after_a_restart_too() -> None:
    traffic, replay = Traffic(rate=lambda _: 60), Replay()
    stream = SpanStream(traffic).run(until_s=LEARNT_S + 10)
    before: dict[Key, Watched] = {}
    for now_ns, observations in stream:
        if now_ns // 1_000_000_000 - START_S == LEARNT_S:
            before = look(replay)
            replay.restart()
        list(replay.take(now_ns, observations))
    after = look(replay)
    for key in ((Signal.CONFIDENCE, None, ""), (Signal.INPUTS, None, ""), (Signal.CLASS_MIX, None, "")):
        assert after[key].state is State.WATCHING
        assert {part.label: part.normal for part in after[key].parts} == {
            part.label: part.normal for part in before[key].parts
        }


def test_an_alarm_without_anything_since_shows_no_part() -> None:
    parts = (Part("a", 0.5, None, 0.0), Part("b", 0.5, None, 0.0))
    assert most_moved(parts, is_alarmed=True) is None
    assert most_moved((*parts, Part("c", 0.1, 0.4, 0.0)), is_alarmed=True) == Part("c", 0.1, 0.4, 0.0)
    assert most_moved((), is_alarmed=False) is None


def test_distances_are_of_shares() -> None:
    edges = np.array([1.0])
    assert Histogram(edges, np.array([1.0, 0.0]), np.array([0.0, 1.0])).distance == 1
    assert Histogram(edges, np.array([0.5, 0.5]), np.array([0.25, 0.75])).distance == 0.25
    assert Histogram(edges, np.array([0.5, 0.5]), None).distance == 0


def test_a_message_says_all_of_it(normal: dict[Key, Watched]) -> None:
    replay = Replay()
    seen(Traffic(rate=lambda _: 60), until_s=LEARNT_S, replay=replay)
    message = drift_messages.version_drift(*VERSION, replay.analysis.detectors[VERSION], now_s=replay.now_ns / 1e9)
    assert len(message.figures) == len(normal)
    assert (message.arm, message.window.seconds) == ("stable", WINDOW_S)
    for one in message.figures:
        assert one.HasField("normal")
        assert one.HasField("now")
        assert one.learnt_duration == one.needed_duration
