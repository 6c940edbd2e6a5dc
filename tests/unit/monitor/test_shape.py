"""Requests that go another way than they used to."""

from __future__ import annotations

import json

import numpy as np
import pytest

from services.monitor.domain.blocks import NS, Batch, Block, Rejection
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.gathering import gather, merged
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Severity, Signal
from services.monitor.domain.shape import LEARN_SLOTS, MOST_SLOTS, ShapeDetector
from services.monitor.domain.summaries import summarise
from tests.support.traffic import START_S, batch

BUDGET = Budget(false_alarms_per_week=1, series=200)


def second(number: int, *, requests: int = 60, redelivered: int = 0, ended: int = 0) -> Block:
    outcomes = np.array([requests - ended, ended, 0])
    return Block("digits", "1", number, outcomes, redelivered=redelivered, ended_by_callers=ended)


def learnt(*, ended: int = 0) -> ShapeDetector:
    detector = ShapeDetector(BUDGET)
    for number in range(LEARN_SLOTS):
        assert list(detector.judge(second(number, ended=ended), may_learn=True)) == []
    assert detector.stream is not None
    return detector


def run(detector: ShapeDetector, seconds: int, *, start: int = LEARN_SLOTS, **shape: int) -> list[Alarm | Recovery]:
    return [
        finding
        for number in range(start, start + seconds)
        for finding in detector.judge(second(number, **shape), may_learn=True)
    ]


@pytest.mark.parametrize(
    ("shape", "said"), [({"redelivered": 6}, "processes died with them"), ({"ended": 20}, "callers left")]
)
def test_what_goes_on_is_found_told_and_ends(shape: dict[str, int], said: str) -> None:
    detector = learnt()
    (alarm,) = run(detector, 30, **shape)
    assert isinstance(alarm, Alarm)
    assert (alarm.signal, alarm.severity, alarm.change_second) == (Signal.TRACE_SHAPE, Severity.TICKET, LEARN_SLOTS)
    assert float(alarm.after[0]) == pytest.approx(sum(shape.values()) / 60)
    assert alarm.log_evalue >= BUDGET.threshold
    summary = summarise("digits", "1", alarm)
    assert said in summary
    assert "0.00% of them did" in summary
    (recovery,) = run(detector, 60, start=LEARN_SLOTS + 30)
    assert recovery == Recovery(Signal.TRACE_SHAPE, None)


def test_a_process_that_dies_once_is_no_alarm() -> None:
    detector = learnt()
    assert run(detector, 1, redelivered=32) == []
    assert run(detector, 120, start=LEARN_SLOTS + 1) == []


def test_what_callers_always_do_is_normal() -> None:
    detector = learnt(ended=20)
    assert run(detector, 300, ended=20) == []


def test_nothing_is_learnt_or_judged_in_bad_times_and_without_requests() -> None:
    detector = ShapeDetector(BUDGET)
    for number in range(2 * LEARN_SLOTS):
        assert list(detector.judge(second(number, ended=60), may_learn=False)) == []
        assert list(detector.judge(second(number, requests=0), may_learn=True)) == []
    assert (detector.stream, detector.learnt_slots) == (None, 0)


def test_what_is_kept_while_learning_is_bounded() -> None:
    detector = ShapeDetector(BUDGET)
    for number in range(100 * LEARN_SLOTS):
        list(detector.judge(second(number, requests=number % 2), may_learn=True))
    assert detector.learnt_slots <= 8 * LEARN_SLOTS + 1


def test_what_was_learnt_survives_being_stored() -> None:
    detector, again = learnt(ended=3), ShapeDetector(BUDGET)
    run(detector, 3, ended=9)
    again.load(json.loads(json.dumps(detector.dump())))
    assert again.dump() == detector.dump()
    assert again.log_evalue == detector.log_evalue > 0
    fresh = ShapeDetector(BUDGET)
    fresh.load({})
    assert fresh.dump() == {}
    with pytest.raises(ValueError, match="expected 2"):
        fresh.load(json.loads(json.dumps(detector.dump() | {"reference": [[0.1], [0.2], [1.0]]})))


def test_blocks_count_what_spans_say() -> None:
    end_ns = START_S * NS

    def claimed(one: Batch) -> Batch:
        one.delivery_count = 2
        return one

    rejections = [
        Rejection("digits", "1", b"r" * 16, end_ns, Outcome.CLIENT_ERROR, 3, code=1),
        Rejection("digits", "1", b"s" * 16, end_ns, Outcome.SERVER_ERROR, 5, code=14),
    ]
    (block,) = merged(gather([claimed(batch(end_ns=end_ns)), batch(end_ns=end_ns)], rejections, now_ns=end_ns))
    assert (block.redelivered, block.ended_by_callers, block.requests) == (1, 3, 10)


def test_few_requests_are_learnt_from_in_the_end() -> None:
    detector = ShapeDetector(BUDGET)
    for number in range(MOST_SLOTS):
        assert detector.stream is None
        list(detector.judge(second(number, requests=1), may_learn=True))
    assert detector.stream is not None
    assert run(detector, 600, start=MOST_SLOTS, requests=1) == []
