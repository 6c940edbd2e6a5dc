"""Requests divided between two versions: by lot, by the caller's key, and what becomes of them. In virtual time."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.v1.reply_service_pb2 import BatchReply, Hello, Reply
from services.common import lanes
from services.common.errors import InternalError, UnavailableError
from services.gateway.adapters.ticket_packer import TicketPacker
from services.gateway.domain.draws import draw
from services.gateway.domain.lane import Lane
from services.gateway.domain.plans import Choice, Plan
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from services.gateway.domain.splits import Split, place_of
from services.gateway.domain.tickets import Ticket
from services.gateway.grpc_servicer import GrpcInfer
from services.gateway.workers import Stream, Worker
from tests.unit.gateway.requests import infer_request, served
from tests.unit.gateway.test_inference import Scene, in_virtual_time

POISON = Reply(code=13, message="it died", reason="POISON_MESSAGE")


class Rollout(Scene):
    """A desk with two live lanes: version 1 is the baseline, version 2 the candidate."""

    def __init__(self, *, candidate: dict[str, Any] | None = None, **split: Any) -> None:
        self.said = {"candidate_share": 0.5, **split}
        super().__init__()
        self.other = Lane(served(version="2", **(candidate or {})), now=self.loop.time())
        self.other.observe_consumers(1, now=self.loop.time())
        self.route()

    def route(self, **said: Any) -> None:
        """Let the registry say something else of the split."""
        self.said |= said
        split = Split(candidate=self.other, baseline=self.lane, **self.said)
        self.other.arm = split.arm
        aliases = {"production": "1", "trial": "2"}
        self.desk.routes = RoutingTable({"m": ModelRoutes({"2": self.other, "1": self.lane}, aliases, split)})

    def ask(self, version: str = "", *, headers: dict[str, str] | None = None, **said: Any) -> Ticket:
        request = infer_request(model_version=version)
        for name, value in said.items():
            setattr(request.parameters[name], "int64_param" if isinstance(value, int) else "string_param", value)
        return self.desk.admit(
            request.SerializeToString(),
            lambda _: request,
            self.spans.arrive(GrpcInfer()),
            caller="somebody",
            time_left_s=None,
            outcome=self.loop.create_future(),
            headers=(headers or {}).items,
        )

    def ask_until(self, lane: Lane) -> Ticket:
        """Ask until a request is drawn for a lane."""
        return next(one for one in iter(self.ask, None) if one.lane is lane)

    def answer(self, ticket: Ticket, reply: Reply | None = None) -> None:
        said = Reply(response=b"answer", rows=1)
        said.MergeFrom(reply or Reply())
        said.request_key = ticket.key
        self.pending.settle_batch(BatchReply(replies=[said]), ticket.lane)


def envelope_of(ticket: Ticket) -> Any:
    packer = TicketPacker(gateway_id="g", inline_limit_bytes=1_000)
    reader = hiredis.Reader()
    reader.feed(packer.pack(ticket))
    fields = reader.gets()[3:]  # after XADD, the stream and its *
    return lanes.decode(dict(zip(fields[::2], fields[1::2], strict=True))).envelope


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_lot_gives_the_candidate_its_share(share: float) -> None:
    baseline, candidate = (Lane(served(version=version), now=0.0) for version in "12")
    candidate.observe_consumers(1, now=0.0)
    split = Split(candidate=candidate, baseline=baseline, candidate_share=share)
    theirs = Plan(candidate, candidate.tiers[0], 1, 1.0, "")
    plan = Plan(baseline, baseline.tiers[0], 1, 1.0, "")
    lot, count = random.Random(3), 100_000
    drawn = Counter(
        draw(plan, Choice(split, theirs), None, now=0.0, lot=lot.random).plan.lane.version.version for _ in range(count)
    )
    assert abs(drawn["2"] / count - share) <= 4 * (share * (1 - share) / count) ** 0.5
    assert drawn["1"] + drawn["2"] == count


@in_virtual_time
async def test_a_share_of_one_takes_all_and_of_none_nothing() -> None:
    scene = Rollout(candidate_share=1.0)
    assert {scene.ask().lane for _ in range(50)} == {scene.other}
    scene.route(candidate_share=0.0)
    tickets = [scene.ask() for _ in range(50)]
    assert {(one.lane, one.is_drawn) for one in tickets} == {(scene.lane, False)}


@given(st.one_of(st.text(min_size=1), st.binary(min_size=1)), st.from_regex("[a-z0-9]{1,64}", fullmatch=True))
def test_a_key_has_a_place_below_one(value: str | bytes, model: str) -> None:
    assert 0 <= place_of(value, model) < 1
    assert place_of(value, model) == place_of(value, model)


def test_keys_are_spread_evenly_and_differently_for_each_model() -> None:
    ones, others = ([place_of(f"user-{number}", model) for number in range(20_000)] for model in ("a", "b"))
    for places in (ones, others):
        counts = Counter(int(place * 10) for place in places)
        assert all(abs(count - 2_000) < 5 * 1_800**0.5 for count in counts.values())
    both = sum(one < 0.1 and other < 0.1 for one, other in zip(ones, others, strict=True))
    assert abs(both - 200) < 5 * 200**0.5


def test_a_key_has_the_same_place_in_another_process() -> None:
    program = """
import json
from services.gateway.domain.splits import place_of
print(json.dumps([place_of(f"user-{n}", "m") for n in range(50)]))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(told.stdout) == [place_of(f"user-{number}", "m") for number in range(50)]


@in_virtual_time
async def test_a_caller_stays_with_its_version_as_the_share_grows() -> None:
    scene = Rollout(sticky_key="User-Id", candidate_share=0.1)
    theirs: set[str] = set()
    for share in (0.1, 0.25, 0.5, 1.0):
        scene.route(candidate_share=share)
        users = [f"user-{number}" for number in range(400)]
        lanes_ = {user: scene.ask(headers={"user-id": user}).lane for user in users}
        assert lanes_ == {user: scene.ask(headers={"user-id": user}).lane for user in users}
        now = {user for user, lane in lanes_.items() if lane is scene.other}
        assert theirs <= now, "nobody goes back"
        assert abs(len(now) / 400 - share) < 0.1
        theirs = now


@in_virtual_time
async def test_a_key_is_looked_for_in_headers_then_in_parameters() -> None:
    scene = Rollout(sticky_key="user")
    for number in range(100):
        name = f"user-{number}"
        expected = scene.other if place_of(name, "m") < 0.5 else scene.lane
        assert scene.ask(user=name).lane is expected
        assert scene.ask(headers={"user": name}, user="somebody else").lane is expected
        assert scene.ask(user=number).lane is scene.ask(headers={"user": str(number)}).lane
    assert {scene.ask().lane for _ in range(100)} == {scene.lane, scene.other}, "without a key by lot"


@in_virtual_time
async def test_headers_are_not_asked_where_no_key_decides() -> None:
    scene = Rollout()
    request = infer_request()

    def headers() -> Any:
        raise AssertionError("nobody needs them")

    for _ in range(20):
        scene.desk.admit(
            request.SerializeToString(),
            lambda _: request,
            scene.spans.arrive(GrpcInfer()),
            caller="somebody",
            time_left_s=None,
            outcome=scene.loop.create_future(),
            headers=headers,
        )


@in_virtual_time
async def test_who_names_a_version_gets_it_and_an_alias_is_divided_only_if_the_rollout_says_so() -> None:
    scene = Rollout(candidate_share=0.5)
    for version, lane in (("1", scene.lane), ("2", scene.other), ("production", scene.lane), ("trial", scene.other)):
        for _ in range(20):
            ticket = scene.ask(version)
            assert (ticket.lane, ticket.is_drawn, ticket.refuge) == (lane, False, None)
    scene.route(alias="production")
    assert {scene.ask("production").lane for _ in range(100)} == {scene.lane, scene.other}
    assert {scene.ask("1").lane for _ in range(20)} == {scene.lane}
    scene.route(alias="trial")
    assert {scene.ask("trial").lane for _ in range(20)} == {scene.other}, "it names another version"


@in_virtual_time
async def test_a_split_request_is_not_read_again_and_keeps_what_its_version_needs() -> None:
    scene = Rollout(candidate={"max_batch_size": 4})
    scene.admit()
    tickets = []
    for _ in range(50):
        tickets.append(scene.admit())
        assert not scene.was_read
    assert {one.lane for one in tickets} == {scene.lane, scene.other}
    for one in tickets:
        assert one.tier is one.lane.tiers[0]
        assert one.is_drawn


@in_virtual_time
async def test_what_the_candidate_does_not_take_is_not_divided() -> None:
    scene = Rollout(candidate={"max_batch_size": 2}, candidate_share=1.0)
    assert scene.admit(infer_request(("INPUT0", "FP32", [2, 4], bytes(32)))).lane is scene.other
    large = scene.admit(infer_request(("INPUT0", "FP32", [3, 4], bytes(48))))
    assert (large.lane, large.is_drawn) == (scene.lane, False)


@in_virtual_time
async def test_envelopes_say_which_arm_and_whether_it_was_drawn() -> None:
    scene = Rollout()
    for ticket, said in (
        (scene.ask_until(scene.other), (1, True)),
        (scene.ask_until(scene.lane), (0, True)),
        (scene.ask("2"), (1, False)),
        (scene.ask("1"), (0, False)),
    ):
        envelope = envelope_of(ticket)
        assert (envelope.arm, envelope.is_drawn) == said
    scene.route(candidate_share=0.0, shadow_share=0.1)
    assert (envelope_of(scene.ask("2")).arm, envelope_of(scene.ask()).is_drawn) == (2, True)


@in_virtual_time
async def test_changing_weights_with_requests_under_way_fails_none() -> None:
    scene = Rollout()
    tickets: list[Ticket] = []
    for share in (0.01, 0.5, 1.0, 0.0, 0.3):
        scene.route(candidate_share=share)
        tickets += [scene.ask() for _ in range(40)]
    scene.desk.routes = RoutingTable({"m": ModelRoutes({"1": scene.lane})})
    for ticket in tickets:
        scene.answer(ticket)
    assert [ticket.outcome.result() for ticket in tickets] == [b"answer"] * 200
    assert (len(scene.pending), scene.lane.unsettled, scene.other.unsettled) == (0, 0, 0)


def check_rescued(scene: Rollout, ticket: Ticket) -> Ticket:
    """Make sure that the baseline has it, with the deadline it had; returns the one there."""
    heir = ticket.heir
    assert heir is not None
    assert ticket.key not in scene.pending
    assert scene.queue.put_in[-1] == heir.key != ticket.key
    assert (heir.lane, heir.deadline, heir.is_drawn, heir.refuge) == (scene.lane, ticket.deadline, False, None)
    assert not ticket.outcome.done()
    assert scene.desk.rescuer.rescued == {"m": 1}
    return heir


@in_virtual_time
async def test_what_the_candidate_dies_of_is_answered_by_the_baseline() -> None:
    scene = Rollout()
    ticket = scene.ask_until(scene.other)
    scene.answer(ticket, POISON)
    heir = check_rescued(scene, ticket)
    assert heir.attempt == 2, "it runs alone: it may be its fault"
    scene.answer(ticket, Reply(response=b"too late"))
    assert not ticket.outcome.done()
    scene.answer(heir)
    assert await ticket.outcome == b"answer"
    assert scene.other.statistics.settled == 0
    assert scene.other.unsettled == 0


@in_virtual_time
async def test_a_request_is_rescued_once() -> None:
    scene = Rollout()
    ticket = scene.ask_until(scene.other)
    scene.answer(ticket, POISON)
    scene.answer(check_rescued(scene, ticket), POISON)
    with pytest.raises(InternalError, match="it died"):
        await ticket.outcome


@in_virtual_time
async def test_other_errors_of_the_candidate_are_its_own() -> None:
    scene = Rollout()
    ticket = scene.ask_until(scene.other)
    scene.answer(ticket, Reply(code=13, message="no", reason="MODEL_ERROR"))
    with pytest.raises(InternalError, match="no"):
        await ticket.outcome
    assert ticket.heir is None


@in_virtual_time
async def test_what_waits_for_a_dead_candidate_goes_to_the_baseline() -> None:
    scene = Rollout()
    ticket, named, at_home = scene.ask_until(scene.other), scene.ask("2"), scene.ask("1")
    before = len(scene.pending)
    scene.desk.rescuer.rescued.clear()
    others = [one for one in scene.pending.unsettled() if one.lane is scene.other and one not in (ticket, named)]
    for one in others:
        scene.answer(one)
    before = len(scene.pending)
    scene.desk.rescuer.empty(scene.other)
    heir = check_rescued(scene, ticket)
    assert len(scene.pending) == before
    assert scene.queue.taken_out == scene.queue.cancelled == [ticket.key]
    assert heir.attempt == 1
    assert named.lane is scene.other
    assert named.key in scene.pending
    assert at_home.key in scene.pending
    scene.answer(heir)
    assert await ticket.outcome == b"answer"


@in_virtual_time
async def test_what_waits_for_a_candidate_that_is_taken_away_goes_to_the_baseline() -> None:
    scene = Rollout()
    ticket, named = scene.ask_until(scene.other), scene.ask("2")
    scene.other.is_deployed = False
    scene.desk.abandon(scene.other, UnavailableError("no longer deployed"))
    assert ticket.heir is not None
    with pytest.raises(UnavailableError, match="no longer deployed"):
        await named.outcome
    scene.answer(ticket.heir)
    assert await ticket.outcome == b"answer"


@in_virtual_time
async def test_without_a_baseline_there_is_no_rescue() -> None:
    scene = Rollout()
    ticket = scene.ask_until(scene.other)
    scene.lane.is_deployed = scene.other.is_deployed = False
    scene.desk.abandon(scene.other, UnavailableError("no longer deployed"))
    with pytest.raises(UnavailableError, match="no longer deployed"):
        await ticket.outcome


@in_virtual_time
async def test_what_may_not_run_twice_stays_once_a_process_may_have_it() -> None:
    scene = Rollout(candidate={"max_attempts": 1})
    waiting, sent = scene.ask_until(scene.other), scene.ask_until(scene.other)
    sent.is_sent = True
    scene.desk.rescuer.empty(scene.other)
    assert waiting.heir is not None
    assert sent.heir is None


@in_virtual_time
async def test_a_candidate_that_nobody_serves_gets_nothing() -> None:
    scene = Rollout(candidate_share=1.0)
    scene.other.observe_consumers(0, now=scene.loop.time())
    ticket = scene.ask()
    assert (ticket.lane, ticket.is_drawn) == (scene.lane, False)
    scene.other.observe_consumers(1, now=scene.loop.time())
    assert scene.ask().lane is scene.other
    scene.other.note_cut_off(until=scene.loop.time() + 2.5)
    assert scene.ask().lane is scene.lane, "it may be dead, and its lease not over"
    scene.other.note_process(now=scene.loop.time())
    assert scene.ask().lane is scene.other
    scene.other.note_cut_off(until=scene.loop.time() + 2.5)
    await asyncio.sleep(3)
    assert scene.ask().lane is scene.other
    assert scene.desk.rescuer.rescued == {"m": 2}


@in_virtual_time
async def test_a_caller_that_leaves_takes_its_rescued_request_along() -> None:
    scene = Rollout()
    ticket = scene.ask_until(scene.other)
    scene.answer(ticket, POISON)
    heir = check_rescued(scene, ticket)
    scene.desk.withdraw(ticket)
    assert heir.key not in scene.pending
    assert scene.queue.taken_out == [heir.key]
    assert ticket.outcome.exception()


@in_virtual_time
async def test_a_rescued_request_expires_when_it_would_have() -> None:
    scene = Rollout()
    ticket = scene.ask_until(scene.other)
    await asyncio.sleep(30)
    scene.answer(ticket, POISON)
    with pytest.raises(UnavailableError, match="Request timeout expired"):
        await ticket.outcome
    assert scene.loop.time() == pytest.approx(60, abs=0.02)


@in_virtual_time
async def test_what_is_handed_over_is_marked_as_in_a_lane() -> None:
    scene, said = Rollout(), []

    class Context:
        def say(self, message: Any) -> None:
            said.append((message.handover.envelope.arm, message.handover.envelope.is_drawn))

    stream = Stream(Worker(Hello(consumer="c", takes_handovers=True)), Context())
    for ticket in (scene.ask("1"), scene.ask_until(scene.other), scene.ask("2"), scene.ask("1")):
        stream.hand_over(ticket)
    assert said == [(0, False), (1, True), (1, False), (0, False)]


@in_virtual_time
async def test_a_handover_that_breaks_is_of_the_lane_again_or_rescued() -> None:
    scene = Rollout()
    ticket = scene.ask_until(scene.other)
    ticket.sent_ns = 1
    scene.desk.rescuer.empty(scene.other)
    assert ticket.heir is not None
    assert scene.pending.get(ticket.heir.key) is ticket.heir
