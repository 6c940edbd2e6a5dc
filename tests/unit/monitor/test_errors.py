"""Errors of a version: whoever is not woken by few of them is woken when there are many."""

from __future__ import annotations

import numpy as np
import pytest

from services.monitor.domain.blocks import Block
from services.monitor.domain.errors import ErrorDetector
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Severity, Signal
from services.monitor.domain.reference import Reference

BUDGET = Budget(false_alarms_per_week=1, series=200)
LEARNT_S = 60
REQUESTS = 1_000


def run(detector: ErrorDetector, seconds: range, *, failed: int = 0) -> list[Alarm | Recovery]:
    found = []
    for second in seconds:
        block = Block("digits", "1", second, np.array([REQUESTS - failed, 0, failed]), executions=REQUESTS)
        block.codes[[0, 13]] = REQUESTS - failed, failed
        found += detector.judge(block, may_learn=True)
    return found


@pytest.fixture
def detector() -> ErrorDetector:
    detector = ErrorDetector(BUDGET, Reference())
    assert run(detector, range(LEARNT_S)) == []
    return detector


def test_few_errors_wake_nobody_until_there_are_many(detector: ErrorDetector) -> None:
    (ticket,) = run(detector, range(60, 300), failed=4)
    assert isinstance(ticket, Alarm)
    assert ticket.severity is Severity.TICKET
    (page,) = run(detector, range(300, 305), failed=REQUESTS)
    assert isinstance(page, Alarm)
    assert (page.severity, page.change_second, float(page.after[0])) == (Severity.PAGE, 300, 1.0)
    assert page.log_evalue >= BUDGET.threshold
    assert "INTERNAL" in page.note
    assert run(detector, range(305, 400), failed=REQUESTS) == []
    assert run(detector, range(400, 500)) == [Recovery(Signal.ERROR_RATE, None)]


def test_what_was_told_before_a_restart_can_still_get_worse(detector: ErrorDetector) -> None:
    detector.adopt_alarm()
    (page,) = run(detector, range(60, 70), failed=REQUESTS)
    assert isinstance(page, Alarm)
    assert page.severity is Severity.PAGE


def test_errors_that_are_many_from_the_first_on_are_told_once(detector: ErrorDetector) -> None:
    (page,) = run(detector, range(60, 100), failed=REQUESTS // 2)
    assert isinstance(page, Alarm)
    assert page.severity is Severity.PAGE
