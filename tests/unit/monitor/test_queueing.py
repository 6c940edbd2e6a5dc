"""A queue that runs away is told before its limit breaks, and why; one that only fills for a moment is not."""

from __future__ import annotations

import numpy as np
import pytest

from services.monitor.domain.blocks import NS, Block
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Cause, Phase
from services.monitor.domain.queueing import RECOVERY_S, QueueDetector


def block(second: int, *, wait_s: float, served: int = 100, busy: float = 0.5, replicas: int = 2) -> Block:
    one = Block("digits", "1", second, np.zeros(len(Outcome), np.int64), executions=served, executed=served)
    one.counts[:, 0] = served
    one.sums_ns[Phase.QUEUE] = wait_s * served * NS
    for replica in range(replicas):
        one.busy_ns[str(replica)] = int(busy * NS)
    return one


def judged(blocks: list[Block]) -> tuple[QueueDetector, list[Alarm | Recovery]]:
    detector = QueueDetector(limit=lambda: 1.0)
    return detector, [finding for one in blocks for finding in detector.judge(one)]


CALM = [block(second, wait_s=0.001) for second in range(60)]


def test_a_surge_is_told_with_what_comes_and_what_is_served() -> None:
    surge = [block(60 + t, wait_s=0.05 + 0.5 * t, served=200, busy=1.0) for t in range(5)]
    detector, (alarm,) = judged([*CALM, *surge])
    assert isinstance(alarm, Alarm)
    assert (alarm.cause, alarm.phase, detector.is_alarmed) == (Cause.ARRIVALS, Phase.QUEUE, True)
    assert alarm.change_second == 59
    assert "400 requests come a second and 200 are served, where 100 came before" in alarm.note


def test_a_limit_that_is_declared_holds_from_then_on() -> None:
    surge = [block(60 + t, wait_s=0.05 + 0.1 * t, served=200, busy=1.0) for t in range(8)]
    detector = QueueDetector(limit=lambda: limit_s)
    limit_s = 60.0
    assert [found for one in [*CALM, *surge[:5]] for found in detector.judge(one)] == []
    limit_s = 0.5
    (alarm,) = (found for one in surge[5:] for found in detector.judge(one))
    assert "the limit of 0.5 s has passed" in alarm.note


@pytest.mark.parametrize(
    ("changed", "cause", "said"),
    [
        ({"replicas": 1, "served": 50}, Cause.REPLICA, "1 replicas serve, where 2 did"),
        ({"served": 60}, Cause.VERSION, "a request takes 3.3 times as long as before"),
    ],
)
def test_fewer_or_slower_replicas_are_told_apart_from_a_surge(changed: dict[str, int], cause: Cause, said: str) -> None:
    growing = [block(60 + t, wait_s=0.05 + 0.4 * t, busy=1.0, **changed) for t in range(5)]
    _, (alarm,) = judged([*CALM, *growing])
    assert isinstance(alarm, Alarm)
    assert alarm.cause is cause
    assert said in alarm.note


@pytest.mark.parametrize(
    "moment",
    [
        [block(60 + t, wait_s=0.3 * (2 - abs(2 - t)), busy=1.0) for t in range(5)],
        [block(60 + t, wait_s=0.001 * t, busy=1.0) for t in range(30)],
        [block(60 + t, wait_s=0.3 * t, busy=0.4) for t in range(6)],
        [block(60 + 10 * t, wait_s=0.3 * t, busy=1.0) for t in range(6)],
    ],
    ids=["a burst", "hardly", "nobody is busy", "seldom"],
)
def test_what_does_not_run_away_is_no_alarm(moment: list[Block]) -> None:
    assert judged([*CALM, *moment])[1] == []


def test_an_alarm_ends_when_waits_are_short_again() -> None:
    growing = [block(60 + t, wait_s=0.05 + 0.5 * t, busy=1.0) for t in range(5)]
    back = [block(70 + t, wait_s=0.01) for t in range(RECOVERY_S + 1)]
    _, (_, recovery) = judged([*CALM, *growing, *back])
    assert isinstance(recovery, Recovery)
