"""A version's arm changes as it is tried and promoted: nothing is lost by that, nothing counts twice, nobody sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from services.monitor.domain.blocks import NS, Batch, Block, Rejection
from services.monitor.domain.detectors import VersionDetectors
from services.monitor.domain.evidence import Budget
from services.monitor.domain.gathering import gather, merged
from services.monitor.domain.incidents import Incident
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Severity
from services.monitor.domain.verdict.comparison import Comparison
from services.monitor.domain.verdict.sample import sample_of
from services.monitor.evaluation.replay import Change, Replay
from services.monitor.evaluation.stream import Faults, Observation, SpanStream, Traffic
from tests.support.traffic import START_S, batch
from tests.support.verdict_traffic import question

NOW_NS = (START_S + 10) * NS


def ran(arm: str, *, second: int = 0, requests: int = 4, drawn: int = 0) -> Batch:
    sent = batch(
        end_ns=(START_S + second) * NS, status=[0] * requests, wait_us=[9] * requests, total_us=[99] * requests
    )
    return replace(sent, arm=arm, drawn=drawn)


def test_a_second_with_two_arms_is_one_second_of_the_version() -> None:
    blocks = gather([ran("canary", drawn=4), ran("stable", requests=6, drawn=5)], [], now_ns=NOW_NS)

    (whole,) = merged(blocks)
    assert [block.arm for block in blocks] == ["canary", "stable"]
    assert (whole.requests, whole.executed, whole.executions, whole.largest, whole.drawn) == (10, 10, 2, 6, 9)

    comparison = Comparison(question(weight=0.0, candidate="1", baseline="0"))
    for block in blocks:
        comparison.add(block.version, block.second, sample_of(block))
    comparison.advance(START_S + 10)
    assert (comparison.progress.candidate.requests, comparison.progress.late_samples) == (10, 0)


def arms_after(*blocks: Block) -> str:
    detectors = VersionDetectors(Budget(1.0, 1))
    for block in blocks:
        detectors.add(block)
    return detectors.arm.name


def block_of(arm: str, *, second: int = 0) -> Block:
    (block,) = gather([ran(arm, second=second)], [], now_ns=NOW_NS)
    return block


def test_the_arm_is_that_of_the_newest_second() -> None:
    canary, stable = block_of("canary", second=1), block_of("stable", second=2)
    assert arms_after(canary, stable) == "stable"
    assert arms_after(stable, canary) == "stable", "what comes late is no change back"


@pytest.mark.parametrize("order", [("shadow", "canary"), ("canary", "shadow")])
def test_of_a_second_with_two_arms_the_one_with_callers_counts(order: tuple[str, str]) -> None:
    assert arms_after(*map(block_of, order)) == "canary"


def test_what_a_gateway_refused_is_no_arm() -> None:
    refused = Rejection("digits", "1", b"r" * 16, (START_S + 1) * NS, Outcome.SERVER_ERROR, 1)
    (rejected,) = gather([], [refused], now_ns=NOW_NS)
    assert arms_after(block_of("shadow"), rejected) == "shadow"


def test_learning_goes_on_over_a_change_of_arm() -> None:
    """The same traffic, with and without a promotion in its midst, and a second in which replicas don't agree."""
    streams = [SpanStream(Traffic(rate=lambda _: 60, seed=3)).run(until_s=80) for _ in range(2)]
    replays = Replay(), Replay()
    numbers = count()
    changes: list[Change] = []
    for (now_ns, plain), (_, told) in zip(*streams, strict=True):
        changes += replays[0].take(now_ns, plain)
        changes += replays[1].take(now_ns, [_at(one, now_ns, next(numbers)) for one in told])
    assert changes == []
    plain, told = (list(replay.analysis.detectors.values()) for replay in replays)
    assert len(told) == 1
    assert told[0].dump() == plain[0].dump()
    assert told[0].arm.name == "stable"


def _at(observation: Observation, now_ns: int, number: int) -> Observation:
    at_s = now_ns // NS - START_S
    is_canary = at_s < 40 or (at_s < 42 and number % 2)
    return replace(observation, arm="canary") if isinstance(observation, Batch) and is_canary else observation


def incidents_of(arms: tuple[tuple[int, str], ...]) -> Iterator[Incident]:
    """Errors from second 90 on, of a version whose arm is that of the last of ``arms`` that has begun."""
    traffic = Traffic(rate=lambda _: 60, faults=Faults(errors=lambda t, _: 0.3 if t >= 90 else 0.0))
    replay = Replay()
    for now_ns, observations in SpanStream(traffic).run(until_s=130):
        arm = [name for since, name in arms if now_ns // NS - START_S >= since][-1]
        told = [replace(one, arm=arm) if isinstance(one, Batch) else one for one in observations]
        yield from (change.incident for change in replay.take(now_ns, told))


@pytest.mark.parametrize(
    ("arm", "severity"), [("stable", Severity.PAGE), ("canary", Severity.PAGE), ("shadow", Severity.TICKET)]
)
def test_what_callers_suffer_from_pages_and_what_a_shadow_does_is_a_ticket(arm: str, severity: Severity) -> None:
    found = list(incidents_of(((0, arm),)))
    assert found
    assert {(one.arm, one.severity) for one in found} == {(arm, severity)}


def test_a_ticket_of_a_shadow_pages_once_it_has_callers() -> None:
    found = list(incidents_of(((0, "shadow"), (110, "stable"))))
    severities = [one.severity for one in found]
    assert severities[0] is Severity.TICKET
    assert severities[-1] is Severity.PAGE
    assert len({one.incident_id for one in found}) == len({(one.signal, one.phase) for one in found})
    assert np.all([one.is_open for one in found])
