"""Detectors against simulated traffic: silent in normal life, however it moves; awake when something breaks.

The simulated worker has noise of its own: per batch, of the host for seconds on end, and hiccups of three times the
compute time in a hundred batches.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from services.monitor.domain.blocks import NS, Batch, Rejection
from services.monitor.domain.detectors import LATENESS_S, VersionDetectors
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.gathering import gather
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Phase, Signal
from services.monitor.domain.reference import LEARN_SLOTS
from services.monitor.domain.streams import LOST_S
from tests.support.traffic import START_S, Worker, batch, closed_loop, open_loop

BUDGET = Budget(false_alarms_per_week=1, series=200)

Found = list[tuple[int, Alarm | Recovery]]
"""Findings, and the last second that each rests on, from the start of the traffic."""


def replay(
    batches: Iterable[Batch], rejections: Iterable[Rejection] = (), *, detectors: VersionDetectors | None = None
) -> Found:
    detectors = detectors or VersionDetectors(BUDGET)
    seconds: dict[int, tuple[list[Batch], list[Rejection]]] = defaultdict(lambda: ([], []))
    for one in batches:
        seconds[one.end_ns // NS][0].append(one)
    for other in rejections:
        seconds[other.end_ns // NS][1].append(other)
    found: Found = []
    for second in sorted(seconds):
        for block in gather(*seconds[second], now_ns=(second + 1) * NS):
            detectors.add(block)
        found += [(second - START_S, finding) for finding in detectors.judge(second + 1 + LATENESS_S)]
    return found


def later(one: Batch, seconds: float) -> Batch:
    return replace(one, end_ns=one.end_ns + int(seconds * NS))


NORMAL_LIFE = {
    "load step of 1 to 64 clients": lambda: closed_loop(Worker(), [0.0] + [40.0] * 63, until_s=90),
    "and back": lambda: closed_loop(Worker(), [0.0] * 64, until_s=40) + closed_loop(Worker(seed=2), [45.0], until_s=85),
    "load step without batching": lambda: closed_loop(
        Worker(base_s=0.02, max_batch=1), [0.0] + [40.0] * 63, until_s=90
    ),
    "one client more on a slow model": lambda: closed_loop(Worker(base_s=0.02), [0.0, 40.0], until_s=90),
    "load doubling": lambda: open_loop(Worker(), lambda t: 40 if t < 50 else 80, until_s=100),
    "waves": lambda: open_loop(Worker(), lambda t: 60 * (1 + 0.9 * math.sin(t / 10)), until_s=120),
    "bursts after silence": lambda: open_loop(Worker(), lambda t: 40 if t % 40 < 10 else 0, until_s=200),
    "two requests a second": lambda: open_loop(Worker(), lambda _: 2, until_s=300),
    "one client and 64 in turn": lambda: [
        later(one, turn * 25.0)
        for turn in range(6)
        for one in closed_loop(Worker(seed=turn), [0.0] * (64 if turn % 2 else 1), until_s=25)
    ],
    "hours of silence, then a cold start": lambda: [
        *open_loop(Worker(), lambda _: 40, until_s=60),
        *(
            later(one, 4 * 3_600)
            for one in open_loop(Worker(slowdown=lambda t: 20 if t < 2 else 1), lambda _: 40, until_s=60)
        ),
    ],
    "a night of a request a minute": lambda: [
        *open_loop(Worker(base_s=0.02), lambda _: 40, until_s=90),
        *Worker(base_s=0.02).run([120.0 + 60 * minute for minute in range(480)], until_s=math.inf, think_s=None),
    ],
    "a batch job twice a minute": lambda: list(
        Worker().run(
            [30.0 * turn + 0.0002 * one for turn in range(60) for one in range(200)], until_s=math.inf, think_s=None
        )
    ),
    "a noisy neighbour for seconds": lambda: open_loop(
        Worker(slowdown=lambda t: 2 if t % 60 > 57 else 1), lambda _: 40, until_s=400
    ),
    "cold start": lambda: open_loop(Worker(slowdown=lambda t: 30 if t < 3 else 1), lambda _: 40, until_s=60),
    "an error in a thousand": lambda: open_loop(Worker(error_rate=lambda _: 0.001), lambda _: 80, until_s=120),
    "a single failing batch": lambda: open_loop(
        Worker(error_rate=lambda t: 1 if 60 < t < 60.1 else 0), lambda _: 40, until_s=90
    ),
    "a pause of two seconds": lambda: open_loop(
        Worker(slowdown=lambda t: 200 if 60 < t < 60.05 else 1), lambda _: 40, until_s=90
    ),
    "a tiny model three times slower": lambda: open_loop(
        Worker(base_s=0.0001, per_row_s=0, slowdown=lambda t: 3 if t > 50 else 1), lambda _: 100, until_s=90
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("traffic", NORMAL_LIFE.values(), ids=NORMAL_LIFE.keys())
def test_normal_life_raises_no_alarm(traffic: Callable[[], list[Batch]]) -> None:
    batches = traffic()
    shuffled = np.random.default_rng(0).permutation(len(batches))  # a second's spans come in any order

    assert replay(batches[index] for index in shuffled) == []


def test_doubled_compute_is_found_named_and_dated() -> None:
    worker = Worker(slowdown=lambda t: 2 if 60 <= t < 100 else 1)

    (at, alarm), *others, (recovered_at, recovery) = replay(open_loop(worker, lambda _: 50, until_s=160))

    assert isinstance(alarm, Alarm)
    assert (alarm.signal, alarm.phase) == (Signal.LATENCY, Phase.COMPUTE_INFER)
    assert 60 < at < 85
    assert abs(alarm.change_second - START_S - 60) <= 2
    assert alarm.after[0] / alarm.before[0] == pytest.approx(2, rel=0.1)
    assert alarm.log_evalue >= BUDGET.threshold
    assert len(alarm.traces) >= 5
    assert len(alarm.innocent) >= 5
    assert not set(alarm.traces) & set(alarm.innocent)
    assert recovery == Recovery(Signal.LATENCY, Phase.COMPUTE_INFER)
    assert 100 < recovered_at <= 135
    assert {finding.phase for _, finding in others} == {Phase.TOTAL}


@pytest.mark.parametrize("clients", [1, 16])
def test_doubled_compute_is_found_although_it_slows_the_clients_too(clients: int) -> None:
    worker = Worker(base_s=0.01, slowdown=lambda t: 2 if t >= 60 else 1)

    (at, alarm), *rest = replay(closed_loop(worker, [0.0] * clients, until_s=100))

    assert isinstance(alarm, Alarm)
    assert (alarm.phase, at < 85, rest) == (Phase.COMPUTE_INFER, True, [])


def test_an_error_burst_is_found_and_ends() -> None:
    worker = Worker(error_rate=lambda t: 0.05 if 60 <= t < 110 else 0)

    (at, alarm), (_, recovery) = replay(open_loop(worker, lambda _: 80, until_s=170))

    assert isinstance(alarm, Alarm)
    assert alarm.signal is Signal.ERROR_RATE
    assert 60 < at < 95
    assert abs(alarm.change_second - START_S - 60) <= 3
    assert float(alarm.after[0]) == pytest.approx(0.05, rel=0.5)
    assert recovery == Recovery(Signal.ERROR_RATE, None)


def test_a_version_that_fails_from_its_first_request_on_is_found_within_seconds() -> None:
    (at, alarm), *_ = replay(open_loop(Worker(error_rate=lambda _: 1), lambda _: 20, until_s=30))

    assert isinstance(alarm, Alarm)
    assert at < 15


def test_a_slower_tail_is_found_though_the_median_stays() -> None:
    random = np.random.default_rng(5)

    def slowdown(t: float) -> float:
        return 6 if t > 60 and random.random() < 0.25 else 1

    found = replay(open_loop(Worker(base_s=0.01, slowdown=slowdown), lambda _: 25, until_s=160))

    alarm = found[0][1]
    assert isinstance(alarm, Alarm)
    assert (alarm.phase, alarm.level > 0) == (Phase.COMPUTE_INFER, True)


def test_waiting_without_load_is_found_in_the_queue() -> None:
    """Compute is idle and quick, load is as ever, and yet requests wait: something between gateway and worker."""
    normal = [batch(end_ns=(START_S + t) * NS, wait_us=[200], total_us=[5_400]) for t in range(60)]
    stuck = [batch(end_ns=(START_S + t) * NS, wait_us=[90_000], total_us=[95_200]) for t in range(60, 120)]

    found = replay(normal + stuck)

    assert [finding.phase for _, finding in found if isinstance(finding, Alarm)] == [Phase.QUEUE, Phase.TOTAL]


def test_refusals_of_a_version_that_does_not_serve_yet_are_no_alarm() -> None:
    rejections = [Rejection("digits", "1", b"r" * 16, (START_S + t) * NS, Outcome.SERVER_ERROR, 10) for t in range(30)]

    assert replay([], rejections) == []
    served = [batch(end_ns=(START_S + t) * NS) for t in range(30)]
    assert [type(finding) for _, finding in replay(served, rejections)][:1] == [Alarm]


def test_the_callers_errors_are_no_alarm() -> None:
    served = [batch(end_ns=(START_S + t) * NS) for t in range(60)]
    wrong = [
        Rejection("digits", "1", b"r" * 16, (START_S + t) * NS, Outcome.CLIENT_ERROR, 1_000) for t in range(20, 60)
    ]

    assert replay(served, wrong) == []


def test_a_fault_is_not_learnt_as_normal() -> None:
    """Known traffic gets slow and moves to a lighter load, which was never seen: the heavier one's reference holds."""
    detectors = VersionDetectors(BUDGET)
    replay(open_loop(Worker(), lambda _: 60, until_s=60), detectors=detectors)
    slow = open_loop(Worker(slowdown=lambda _: 3), lambda t: 10 if t > 60 else 0, until_s=160)

    found = replay(slow, detectors=detectors)

    assert [(type(finding), finding.phase) for _, finding in found] == [
        (Alarm, Phase.COMPUTE_INFER),
        (Alarm, Phase.TOTAL),
    ]


def test_an_alarm_ends_when_traffic_becomes_unlike_any_before() -> None:
    """Load grows for good while the model is slow: nothing is known to compare with, and nothing is learnt."""
    batches = [
        batch(
            end_ns=int((START_S + second + part / count) * NS),
            compute_ns=(20_000, 10_000_000 if 60 <= second < 90 else 5_000_000, 30_000),
            status=[0] * rows,
            wait_us=[100] * rows,
            total_us=[5_150] * rows,
        )
        for second in range(90 + LOST_S + 60)
        for rows, count in [(1, 4) if second < 90 else (8, 50)]
        for part in range(count)
    ]

    (_, alarm), (at, recovery) = replay(batches)

    assert isinstance(alarm, Alarm)
    assert recovery == Recovery(Signal.LATENCY, Phase.COMPUTE_INFER, is_lost=True)
    assert at == 89 + LOST_S


def test_late_blocks_are_left_out() -> None:
    detectors = VersionDetectors(BUDGET)
    replay([batch(end_ns=(START_S + t) * NS) for t in range(10)], detectors=detectors)

    before = list(detectors.evidence())
    (late,) = gather([batch(end_ns=(START_S + 3) * NS, status=[13])], [], now_ns=(START_S + 10) * NS)
    detectors.add(late)

    assert list(detectors.judge(START_S + 20)) == []
    assert (list(detectors.evidence()), detectors.judged_second) == (before, START_S + 9)


def test_a_clock_that_is_set_back_does_not_blind_the_detectors() -> None:
    detectors = VersionDetectors(BUDGET)
    replay([batch(end_ns=(START_S + 7_200 + t) * NS) for t in range(10)], detectors=detectors)

    found = replay([batch(end_ns=(START_S + t) * NS, status=[13]) for t in range(20)], detectors=detectors)

    assert [type(finding) for _, finding in found] == [Alarm]


def test_an_alarm_ends_although_the_clock_was_set_back() -> None:
    detectors = VersionDetectors(BUDGET)
    failing = [
        batch(end_ns=(START_S + 7_200 + t) * NS, status=[0 if t < 40 else 13], trace_id=t.to_bytes(16))
        for t in range(60)
    ]
    (_, alarm), *rest = replay(failing, detectors=detectors)

    found = replay([batch(end_ns=(START_S + t) * NS) for t in range(60)], detectors=detectors)

    assert isinstance(alarm, Alarm)
    assert (rest, [finding for _, finding in found]) == ([], [Recovery(Signal.ERROR_RATE, None)])


def test_an_adopted_alarm_ends_with_recovery_and_is_not_raised_again() -> None:
    before = VersionDetectors(BUDGET)
    replay(open_loop(Worker(), lambda _: 50, until_s=60), detectors=before)
    restarted = VersionDetectors(BUDGET, before.reference)
    restarted.adopt_alarm(Signal.LATENCY, Phase.COMPUTE_INFER, "", second=START_S + 60)
    worker = Worker(slowdown=lambda t: 2 if t < 90 else 1)

    found = replay(open_loop(worker, lambda t: 50 if t > 70 else 0, until_s=140), detectors=restarted)

    assert [finding for _, finding in found] == [Recovery(Signal.LATENCY, Phase.COMPUTE_INFER)]
    assert found[0][0] >= 90 + LEARN_SLOTS - 10
