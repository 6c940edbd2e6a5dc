"""Copies of answered requests: made afterwards, bounded, compared, counted, and never waited for. In virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from penstock.gateway.v1.reply_service_pb2 import Reply
from penstock.monitor.v1.verdict_service_pb2 import RecordPairsRequest
from services.gateway import shadow
from services.gateway.adapters.pair_reporter import PairReporter
from services.gateway.domain.tallies import Tally
from services.gateway.domain.tickets import Ticket
from services.gateway.inference import Desk
from services.gateway.shadow import Shadows
from tests.support.virtual_loop import run
from tests.unit.gateway.requests import infer_request, infer_response
from tests.unit.gateway.test_inference import in_virtual_time
from tests.unit.gateway.test_splits import POISON, Rollout, envelope_of

COMPARISON = "comparisons/m-r-0-1"
ERROR = Reply(code=13, message="no", reason="MODEL_ERROR")


def answer_of(*values: float) -> bytes:
    return infer_response(("OUTPUT0", "FP32", np.array(values, "<f4"), [1, len(values)]))


class Shadow(Rollout):
    """A rollout in the shadow, which notes copies as they are put into the candidate's lane."""

    def __init__(self, **split: Any) -> None:
        super().__init__(
            **{
                "candidate_share": 0.0,
                "shadow_share": 1.0,
                "comparison": COMPARISON,
                "pair_tolerance": 0.01,
                **split,
            }
        )
        self.copies: list[Ticket] = []
        keys = itertools.count(1_000_000)
        self.shadows = Shadows(queue=self, cancellations=self.queue, keys=keys, clock_ns=self.clock_ns)
        routes = self.desk.routes
        self.pending.on_stray = self.shadows.take
        self.desk = Desk(
            pending=self.pending,
            spans=self.spans,
            queue=self.queue,
            cancellations=self.queue,
            recovery_grace_s=10.0,
            copies=self.shadows,
            clock_ns=self.clock_ns,
        )
        self.desk.routes = routes

    def put(self, ticket: Ticket) -> None:
        self.copies.append(ticket)

    def remove(self, ticket: Ticket) -> None:
        self.queue.remove(ticket)

    async def ask_and_answer(self, reply: Reply | None = None) -> Ticket:
        """A request that the baseline answered; its copy has been made, if one is."""
        ticket = self.ask()
        assert ticket.lane is self.lane
        self.answer(ticket, reply or Reply(response=answer_of(1.0, 2.0)))
        await self.settle()
        return ticket

    async def settle(self) -> None:
        """Let the next turns of the event loop pass."""
        for _ in range(4):
            await asyncio.sleep(0)

    async def pair(self, ours: Reply, theirs: Reply) -> Tally | None:
        """A request that both versions answered; what was counted of it."""
        ticket = await self.ask_and_answer(ours)
        ticket.outcome._outcome.exception()
        self.answer(self.copies.pop(), theirs)
        await self.settle()
        return self.shadows.take_tallies().get(COMPARISON)


@in_virtual_time
async def test_a_copy_is_made_after_the_answer_was_handed_over() -> None:
    scene = Shadow()
    ticket = scene.ask()
    seen: list[int] = []
    scene.loop.call_soon(lambda: seen.append(len(scene.copies)))
    scene.answer(ticket, Reply(response=answer_of(1.0)))
    assert scene.copies == []
    assert ticket.outcome._outcome.done(), "the caller has it"
    await scene.settle()
    (copy,) = scene.copies
    assert (copy.lane, copy.message, copy.is_drawn, copy.refuge) == (scene.other, ticket.message, True, None)
    envelope = envelope_of(copy)
    assert (envelope.arm, envelope.is_drawn, envelope.rows) == (2, True, 1)
    assert scene.other.unsettled == 0, "it takes nobody's place"
    assert copy.key not in scene.pending, "so that it is never tried again"


@in_virtual_time
async def test_no_answer_of_a_batch_waits_for_copies_of_the_others() -> None:
    scene = Shadow()
    tickets = [scene.ask(), scene.ask(), scene.ask()]
    copied_when_sent: list[int] = []
    for ticket in tickets:  # in one turn; each answer leaves in its connection's own callback
        scene.answer(ticket, Reply(response=answer_of(1.0)))
        scene.loop.call_soon(lambda: copied_when_sent.append(len(scene.copies)))
    await scene.settle()
    assert copied_when_sent == [0, 0, 0]
    assert len(scene.copies) == 3


@in_virtual_time
async def test_copies_are_in_no_figures_of_requests() -> None:
    scene = Shadow()
    assert (await scene.pair(Reply(response=answer_of(1.0)), Reply(response=answer_of(1.0)))) is not None
    assert scene.lane.statistics.settled == 1
    assert scene.other.statistics.settled == 0
    assert scene.shadows.counts == {("m", "agreed"): 1}


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome", "counted"),
    [
        (Reply(response=answer_of(1, 2)), Reply(response=answer_of(1, 2)), "agreed", Tally(1)),
        (Reply(response=answer_of(1, 2)), Reply(response=answer_of(1.01, 2)), "agreed", Tally(1)),
        (Reply(response=answer_of(1, 2)), Reply(response=answer_of(1.1, 2)), "differed", Tally(1, differing=1)),
        (Reply(response=answer_of(1)), Reply(response=b"\xff"), "differed", Tally(1, differing=1)),
        (Reply(response=answer_of(1)), ERROR, "candidate_failed", Tally(1, candidate_failed=1)),
        (Reply(response=answer_of(1)), POISON, "candidate_failed", Tally(1, candidate_failed=1)),
        (ERROR, Reply(response=answer_of(1)), "baseline_failed", Tally(1, baseline_failed=1)),
        (ERROR, ERROR, "both_failed", Tally(1)),
        (Reply(response=answer_of(1)), Reply(code=4, message="late"), "expired", None),
    ],
    ids=["same", "close", "far", "garbage", "error", "poison", "ours-failed", "both-failed", "late"],
)
def test_pairs_are_counted_by_how_both_answered(
    ours: Reply, theirs: Reply, outcome: str, counted: Tally | None
) -> None:
    async def scenario() -> None:
        scene = Shadow()
        said = [Reply(), Reply()]
        for one, reply in zip(said, (ours, theirs), strict=True):
            one.CopyFrom(reply)
        assert await scene.pair(*said) == counted
        assert scene.shadows.counts == {("m", outcome): 1}
        assert len(scene.shadows) == 0

    run(scenario())


@in_virtual_time
async def test_what_a_process_died_of_or_nobody_answered_is_not_copied() -> None:
    scene = Shadow()
    poisoned, left, late = (scene.ask() for _ in range(3))
    scene.answer(poisoned, POISON)
    scene.desk.withdraw(left)
    await asyncio.sleep(61)
    assert scene.copies == []
    for ticket in (poisoned, left, late):
        assert ticket.outcome._outcome.exception()


@in_virtual_time
async def test_only_a_share_is_copied_and_nothing_of_who_named_the_version() -> None:
    scene = Shadow(shadow_share=0.25)
    for _ in range(400):
        await scene.ask_and_answer()
        for copy in scene.copies[len(scene.copies) - len(scene.shadows) :]:
            scene.answer(copy)
            await scene.settle()
    assert 60 < len(scene.copies) < 140
    scene.copies.clear()
    for version in ("1", "2"):
        scene.answer(scene.ask(version))
    await scene.settle()
    assert scene.copies == []


@in_virtual_time
async def test_without_a_shadow_outcomes_are_the_callers_own() -> None:
    scene = Shadow(shadow_share=0.0, candidate_share=0.5)
    assert all(isinstance(scene.ask().outcome, asyncio.Future) for _ in range(20))


@in_virtual_time
async def test_copies_under_way_are_bounded_in_number() -> None:
    scene = Shadow()
    for _ in range(shadow.MOST_COPIES + 10):
        await scene.ask_and_answer()
    assert len(scene.shadows) == len(scene.copies) == shadow.MOST_COPIES
    assert scene.shadows.counts == {("m", "skipped"): 10}
    scene.answer(scene.copies[0])
    await scene.settle()
    await scene.ask_and_answer()
    assert len(scene.copies) == shadow.MOST_COPIES + 1


def test_copies_under_way_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "MOST_BYTES", 500)

    async def scenario() -> None:
        scene = Shadow()
        for _ in range(10):
            await scene.ask_and_answer(Reply(response=bytes(100)))
        made = len(scene.copies)
        assert 0 < made < 5
        assert sum(len(one.message) + 100 for one in scene.copies) <= 500
        assert scene.shadows.counts == {("m", "skipped"): 10 - made}

    run(scenario())


@in_virtual_time
async def test_a_candidate_that_nobody_serves_gets_no_copies() -> None:
    scene = Shadow()
    scene.other.observe_consumers(0, now=scene.loop.time())
    ticket = await scene.ask_and_answer()
    assert await ticket.outcome._outcome == answer_of(1.0, 2.0)
    assert scene.copies == []
    assert scene.shadows.counts == {("m", "skipped"): 1}


@in_virtual_time
async def test_copies_that_nobody_answers_are_given_up() -> None:
    scene = Shadow()
    await scene.ask_and_answer()
    (copy,) = scene.copies
    scene.shadows.sweep()
    assert len(scene.shadows) == 1
    await asyncio.sleep(31)
    scene.shadows.sweep()
    assert (len(scene.shadows), scene.queue.taken_out, scene.queue.cancelled) == (0, [copy.key], [copy.key])
    scene.answer(copy)
    await scene.settle()
    assert scene.shadows.counts == {("m", "expired"): 1}
    assert scene.shadows.take_tallies() == {}


@pytest.mark.parametrize("end", ["drain", "undeployed"])
def test_copies_are_dropped(end: str) -> None:
    async def scenario() -> None:
        scene = Shadow()
        await scene.ask_and_answer()
        late = scene.ask()
        if end == "drain":
            scene.shadows.close()
        else:
            scene.other.is_deployed = False
            scene.shadows.sweep()
        scene.answer(late)
        await scene.settle()
        assert len(scene.shadows) == 0
        assert scene.shadows.counts == {("m", "dropped"): 1, ("m", "skipped"): 1}

    run(scenario())


@in_virtual_time
async def test_decoupled_models_are_not_copied() -> None:
    scene = Shadow()
    for lane in (scene.lane, scene.other):
        object.__setattr__(lane.version, "is_decoupled", True)
    scene.route()
    arrival = scene.spans.arrive(shadow._UNASKED)  # an API that takes streams
    scene.desk.admit(
        (request := infer_request()).SerializeToString(),
        lambda _: request,
        arrival,
        caller="somebody",
        time_left_s=None,
        outcome=(outcome := scene.loop.create_future()),
    )
    assert next(iter(scene.pending.unsettled())).outcome is outcome


@in_virtual_time
async def test_the_largest_batch_is_that_of_requests_answered_together() -> None:
    scene = Shadow()
    tickets = [scene.ask() for _ in range(5)]
    for ticket in tickets:
        scene.answer(ticket, Reply(response=answer_of(1.0)))
    await scene.settle()
    for copy in scene.copies:
        scene.answer(copy, Reply(response=answer_of(1.0)))
        await scene.settle()
    assert scene.shadows.take_tallies() == {COMPARISON: Tally(5, largest_batch=5)}
    await scene.ask_and_answer()
    await scene.ask_and_answer()
    for copy in scene.copies[-2:]:
        scene.answer(copy, Reply(response=answer_of(1.0, 2.0)))
    await scene.settle()
    assert scene.shadows.take_tallies() == {COMPARISON: Tally(2, largest_batch=2)}


def test_large_answers_are_compared_beside() -> None:
    async def scenario() -> None:
        scene = Shadow()
        values = np.ones(40_000, "<f4").tolist()
        await scene.ask_and_answer(Reply(response=answer_of(*values)))
        scene.answer(scene.copies.pop(), Reply(response=answer_of(*values)))
        async with asyncio.timeout(20):
            while not scene.shadows.counts:  # noqa: ASYNC110 - nobody tells when a pair is counted
                await asyncio.sleep(0.01)
        assert scene.shadows.counts == {("m", "agreed"): 1}

    asyncio.run(scenario())  # in real time: another thread compares


@in_virtual_time
async def test_where_nobody_compares_pairs_are_counted_all_the_same() -> None:
    scene = Shadow(comparison="")
    assert await scene.pair(Reply(response=answer_of(1.0)), Reply(response=answer_of(1.0))) is None
    assert scene.shadows.take_tallies() == {}
    assert scene.shadows.counts == {("m", "agreed"): 1}


class Monitor:
    """A stub that fails as it is told to."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes = list(codes)
        self.told: list[RecordPairsRequest] = []

    async def RecordPairs(self, request: RecordPairsRequest, **_: Any) -> None:
        if self.codes:
            raise grpc.aio.AioRpcError(self.codes.pop(0), grpc.aio.Metadata(), grpc.aio.Metadata())
        self.told.append(request)


def told_by(take: Callable[[], dict[str, Tally]], monitor: Any, *, monitors: int = 1) -> list[str]:
    """Run a reporter for three seconds; what it did besides telling."""
    turns: list[str] = []

    async def scenario() -> None:
        reporter = PairReporter(take, monitors=lambda: monitors, ask_another=lambda: turns.append("turned"))
        running = asyncio.create_task(reporter.run(monitor))
        await asyncio.sleep(3.5)
        running.cancel()

    run(scenario())
    return turns


def test_pairs_are_told_every_second_and_once() -> None:
    waiting = [{COMPARISON: Tally(3, 1, 0, 2, 2)}, {}, {"comparisons/other": Tally(1)}]
    monitor = Monitor()
    assert told_by(lambda: waiting.pop(0), monitor) == []
    assert monitor.told == [
        RecordPairsRequest(
            name=COMPARISON, pair_count=3, candidate_failed_count=1, differing_count=2, largest_batch_count=2
        ),
        RecordPairsRequest(name="comparisons/other", pair_count=1, largest_batch_count=1),
    ]


def test_pairs_that_a_monitor_may_have_taken_in_are_not_told_again() -> None:
    waiting = [{COMPARISON: Tally(3)}, {COMPARISON: Tally(4)}, {}]
    monitor = Monitor(grpc.StatusCode.UNAVAILABLE)
    assert told_by(lambda: waiting.pop(0), monitor, monitors=2) == []
    assert [one.pair_count for one in monitor.told] == [4]


def test_another_monitor_is_asked_where_one_does_not_know_the_comparison() -> None:
    waiting = [{COMPARISON: Tally(3)}, {}, {}]
    monitor = Monitor(grpc.StatusCode.NOT_FOUND)
    assert told_by(lambda: waiting.pop(0), monitor, monitors=2) == ["turned"]
    assert [one.pair_count for one in monitor.told] == [3]
