"""The desk and the pending table: every request ends once, however it ends. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from penstock.gateway.v1.reply_service_pb2 import BatchReply, Reply
from services.common.discovery.peers import Peers
from services.common.errors import (
    CancelledByCallerError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)
from services.common.tracing import SpanExporter
from services.gateway.domain.lane import Lane
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from services.gateway.domain.tickets import Ticket
from services.gateway.grpc_servicer import GrpcInfer
from services.gateway.inference import Desk
from services.gateway.pending import PendingTable
from services.gateway.spans import RequestSpans
from tests.support.virtual_loop import run
from tests.unit.gateway.requests import infer_request, served, spec


class RecordingQueue:
    """A queue, and the way to model processes, that remember what they were told."""

    def __init__(self) -> None:
        self.put_in: list[int] = []
        self.taken_out: list[int] = []
        self.cancelled: list[int] = []

    def put(self, ticket: Ticket) -> None:
        self.put_in.append(ticket.key)

    def remove(self, ticket: Ticket) -> None:
        self.taken_out.append(ticket.key)

    def cancel(self, ticket: Ticket) -> None:
        self.cancelled.append(ticket.key)


class Scene:
    """A desk with one live lane."""

    def __init__(self, **version: Any) -> None:
        exporter = SpanExporter(receivers=Peers(), service="test", instance="1", version="0")
        self.loop = asyncio.get_running_loop()
        self.spans = RequestSpans(exporter, sample_ratio=0.0, clock_ns=self.clock_ns)
        self.pending = PendingTable(self.spans, clock_ns=self.clock_ns)
        self.queue = RecordingQueue()
        self.desk = Desk(
            pending=self.pending,
            spans=self.spans,
            queue=self.queue,
            cancellations=self.queue,
            recovery_grace_s=10.0,
            clock_ns=self.clock_ns,
        )
        self.lane = Lane(served(**version), now=self.loop.time())
        self.lane.observe_consumers(1, now=self.loop.time())
        self.desk.routes = RoutingTable({"m": ModelRoutes({"1": self.lane})})

    def clock_ns(self) -> int:
        return int(self.loop.time() * 1e9)

    def admit(self, request: Any = None, *, time_left_s: float | None = None, caller: str = "somebody") -> Ticket:
        request = request or infer_request()
        arrival = self.spans.arrive(GrpcInfer())
        self.was_read = False

        def read(_message: bytes) -> Any:
            self.was_read = True
            return request

        return self.desk.admit(
            request.SerializeToString(),
            read,
            arrival,
            caller=caller,
            time_left_s=time_left_s,
            outcome=self.loop.create_future(),
        )

    def reply(self, *replies: Reply, **batch: Any) -> None:
        batch = {"batch_rows": len(replies), "is_execution_counted": True, "compute_infer_ns": 7, **batch}
        self.pending.settle_batch(BatchReply(replies=replies, **batch), self.lane)

    @property
    def failures(self) -> dict[str, int]:
        return {reason: one.count for reason, one in self.lane.statistics.failures.items() if one.count}


Scenario = Callable[[], Coroutine[Any, Any, None]]


def in_virtual_time(scenario: Scenario) -> Callable[[], None]:
    def test() -> None:
        run(scenario())

    test.__name__ = scenario.__name__
    return test


@in_virtual_time
async def test_an_answer_reaches_its_caller_and_is_counted() -> None:
    scene = Scene()
    ticket = scene.admit(infer_request(id="abc"))
    assert scene.queue.put_in == [ticket.key]
    assert scene.lane.unsettled == 1
    await asyncio.sleep(2)
    scene.reply(Reply(request_key=ticket.key, response=b"answer", queue_ns=5, rows=1))
    assert await ticket.outcome == b"answer"
    figures = scene.lane.statistics
    assert (figures.success.count, figures.success.ns) == (1, 2_000_000_000)
    assert (figures.queue.ns, figures.compute_infer.ns, figures.execution_count) == (5, 7, 1)
    assert scene.lane.unsettled == 0
    assert len(scene.pending) == 0
    assert scene.pending.deadlines.next_due() is None


@in_virtual_time
async def test_a_request_that_differs_in_contents_only_is_admitted_unread() -> None:
    scene = Scene(priority_levels=3)
    request = infer_request(("INPUT0", "FP32", [3, 4], bytes(48)))
    request.parameters["timeout"].int64_param = 2_000_000
    request.parameters["priority"].int64_param = 1
    first = scene.admit(request)
    assert scene.was_read
    request.raw_input_contents[0] = b"x" * 48
    second = scene.admit(request)
    assert not scene.was_read
    for ticket in (first, second):
        assert (ticket.lane, ticket.rows, ticket.priority, ticket.request_id) == (scene.lane, 3, 1, "")
        assert ticket.deadline == scene.loop.time() + 2
    assert second.message == request.SerializeToString()
    assert second.key != first.key
    scene.admit(request, time_left_s=0.5)
    await asyncio.sleep(1)
    assert scene.failures == {"REJECTED": 1}


@in_virtual_time
async def test_what_was_remembered_of_requests_ends_with_their_routes() -> None:
    scene = Scene()
    scene.admit()
    scene.desk.routes = RoutingTable({})
    with pytest.raises(NotFoundError):
        scene.admit()


@in_virtual_time
async def test_requests_with_ids_or_strings_are_always_read() -> None:
    scene = Scene()
    for _ in range(2):
        scene.admit(infer_request(id="a"))
        assert scene.was_read
    scene.lane.version = served(spec("INPUT0", "BYTES", -1))
    for _ in range(2):
        scene.admit(infer_request(("INPUT0", "BYTES", [1], b"\1\0\0\0a")))
        assert scene.was_read


@in_virtual_time
async def test_a_second_reply_is_ignored() -> None:
    scene = Scene()
    ticket = scene.admit()
    scene.reply(Reply(request_key=ticket.key, response=b"first", rows=1))
    scene.reply(Reply(request_key=ticket.key, response=b"second", rows=1), is_execution_counted=False)
    assert await ticket.outcome == b"first"
    assert scene.lane.statistics.inference_count == 1
    assert scene.lane.unsettled == 0


@in_virtual_time
async def test_a_reply_with_an_error_fails_its_request_and_no_other() -> None:
    scene = Scene()
    bad, good = scene.admit(), scene.admit()
    scene.reply(
        Reply(request_key=bad.key, code=13, message="the model failed", reason="MODEL_FAILED"),
        Reply(request_key=good.key, response=b"ok", rows=1),
    )
    with pytest.raises(InternalError, match="the model failed") as caught:
        await bad.outcome
    assert caught.value.reason == "MODEL_FAILED"
    assert await good.outcome == b"ok"
    assert scene.failures == {"BACKEND": 1}


@in_virtual_time
async def test_a_request_expires_on_time() -> None:
    scene = Scene()
    quick = infer_request()
    quick.parameters["timeout"].int64_param = 500_000
    tickets = [scene.admit(), scene.admit(quick), scene.admit(time_left_s=2.0)]
    start = scene.loop.time()
    for ticket, seconds in ((tickets[1], 0.5), (tickets[2], 2.0), (tickets[0], 60.0)):
        with pytest.raises(UnavailableError, match="Request timeout expired"):
            await ticket.outcome
        assert seconds <= scene.loop.time() - start <= seconds + 0.011
    assert scene.queue.taken_out == [tickets[1].key, tickets[2].key, tickets[0].key]
    assert scene.failures == {"REJECTED": 3}


@in_virtual_time
async def test_a_worker_that_finds_a_request_expired_says_the_same_as_the_gateway() -> None:
    scene = Scene()
    ticket = scene.admit()
    scene.reply(Reply(request_key=ticket.key, code=4, message="late"), batch_rows=0)
    with pytest.raises(UnavailableError, match="Request timeout expired"):
        await ticket.outcome
    assert scene.lane.statistics.execution_count == 0


@in_virtual_time
async def test_a_timeout_shortens_the_default_and_never_lengthens_it() -> None:
    scene = Scene(default_timeout_us=1_000_000)
    patient = infer_request()
    patient.parameters["timeout"].int64_param = 90_000_000
    assert scene.admit(patient).deadline == scene.loop.time() + 1.0
    assert scene.admit(time_left_s=0.25).deadline == scene.loop.time() + 0.25


@in_virtual_time
async def test_a_deadline_that_has_passed_is_refused() -> None:
    scene = Scene()
    with pytest.raises(UnavailableError, match="Request timeout expired"):
        scene.admit(time_left_s=-0.1)
    assert scene.failures == {"REJECTED": 1}
    assert scene.queue.put_in == []


@in_virtual_time
async def test_a_caller_that_leaves_takes_its_request_along() -> None:
    scene = Scene()
    ticket = scene.admit()
    scene.desk.withdraw(ticket)
    scene.desk.withdraw(ticket)
    assert scene.queue.taken_out == scene.queue.cancelled == [ticket.key]
    assert scene.failures == {"CANCELED": 1}
    with pytest.raises(CancelledByCallerError):
        await ticket.outcome


@in_virtual_time
async def test_a_caller_that_leaves_after_its_answer_changes_nothing() -> None:
    scene = Scene()
    ticket = scene.admit()
    scene.reply(Reply(request_key=ticket.key, response=b"x", rows=1))
    scene.desk.withdraw(ticket)
    assert scene.failures == {}
    assert scene.queue.cancelled == []


@in_virtual_time
async def test_an_answer_for_a_future_that_was_cancelled_is_no_error() -> None:
    scene = Scene()
    ticket = scene.admit()
    ticket.outcome.cancel()
    scene.reply(Reply(request_key=ticket.key, response=b"x", rows=1))
    assert scene.lane.statistics.success.count == 1


@in_virtual_time
async def test_a_full_queue_refuses_and_frees_up_again() -> None:
    scene = Scene(max_queue_size=2)
    first, _ = scene.admit(), scene.admit()
    with pytest.raises(UnavailableError, match="Exceeds maximum queue size"):
        scene.admit()
    scene.reply(Reply(request_key=first.key, response=b"x", rows=1))
    scene.admit()
    assert scene.failures == {"REJECTED": 1}


@in_virtual_time
async def test_nothing_is_left_of_a_bad_request() -> None:
    scene = Scene()
    for request, error in (
        (infer_request(("INPUT0", "FP32", [1, 4], bytes(3))), InvalidArgumentError),
        (infer_request(model="other"), NotFoundError),
    ):
        with pytest.raises(PenstockError) as caught:
            scene.admit(request)
        assert type(caught.value) is error
    assert scene.failures == {"OTHER": 1}
    assert (scene.lane.unsettled, len(scene.pending), scene.queue.put_in) == (0, 0, [])


@in_virtual_time
async def test_abandoning_a_lane_fails_its_requests() -> None:
    scene = Scene()
    tickets = [scene.admit(), scene.admit()]
    scene.desk.abandon(Lane(served(model="other"), now=0.0), UnavailableError("other"))
    scene.desk.abandon(scene.lane, UnavailableError("gone"))
    for ticket in tickets:
        with pytest.raises(UnavailableError, match="gone"):
            await ticket.outcome
    assert scene.failures == {"OTHER": 2}


@in_virtual_time
async def test_executions_are_counted_by_the_message_that_says_so() -> None:
    scene = Scene()
    tickets = [scene.admit(), scene.admit()]
    for ticket, counts in zip(tickets, (True, False), strict=True):
        scene.reply(Reply(request_key=ticket.key, rows=1), batch_rows=2, is_execution_counted=counts)
    figures = scene.lane.statistics
    assert (figures.execution_count, figures.success.count, list(figures.by_batch_size)) == (1, 2, [2])


@in_virtual_time
async def test_what_is_refused_is_counted_by_reason_and_leaves_nothing() -> None:
    scene = Scene(max_queue_size=2)
    tickets = [scene.admit(caller="a"), scene.admit(caller="b")]
    with pytest.raises(UnavailableError) as caught:
        scene.admit()
    assert caught.value.retry_after_s == 1
    assert scene.lane.refused == {"QUEUE_FULL": 1}
    assert scene.pending.bytes.held == sum(len(ticket.message) for ticket in tickets)
    assert {one.caller: one.rows for one in scene.lane.tiers[0].shares.values()} == {"a": 1, "b": 1, "somebody": 0}
    scene.reply(*(Reply(request_key=ticket.key, response=b"x", rows=1) for ticket in tickets))
    assert (scene.pending.bytes.held, scene.lane.unsettled, scene.lane.rows) == (0, 0, 0)
    assert not any(one.rows for one in scene.lane.tiers[0].shares.values())


@in_virtual_time
async def test_a_lane_learns_from_answers_what_it_can_do() -> None:
    scene = Scene(max_batch_size=2)
    tickets = [scene.admit() for _ in range(40)]
    for at in range(0, 20, 2):
        await asyncio.sleep(0.1)
        scene.reply(*(Reply(request_key=one.key, response=b"x", rows=1) for one in tickets[at : at + 2]))
    assert scene.lane.tiers[0].rate == pytest.approx(20)
    with pytest.raises(UnavailableError, match=r"20 rows waiting .* answers about 20 a second") as caught:
        scene.admit(time_left_s=1.0)
    assert caught.value.reason == "DEADLINE_UNREACHABLE"
    scene.admit(time_left_s=2.0)
    assert scene.failures == {"REJECTED": 1}


@in_virtual_time
async def test_batches_that_ran_nothing_say_nothing_of_how_fast_a_lane_is() -> None:
    scene = Scene(max_batch_size=2)
    for ticket in [scene.admit() for _ in range(20)]:
        await asyncio.sleep(0.1)
        scene.reply(Reply(request_key=ticket.key, code=4, message="late"), batch_rows=0)
        assert ticket.outcome.exception()
    assert scene.lane.tiers[0].rate == scene.lane.tiers[0].answered == 0


@in_virtual_time
async def test_requests_that_run_alone_since_their_process_died_say_nothing_of_how_fast_a_lane_is() -> None:
    scene = Scene(max_batch_size=8)
    for ticket in [scene.admit() for _ in range(40)][:20]:
        await asyncio.sleep(0.1)
        scene.reply(Reply(request_key=ticket.key, response=b"x", rows=1, attempt=2))
    assert scene.lane.tiers[0].rate == 0
    scene.admit(time_left_s=0.5)


@in_virtual_time
async def test_requests_beyond_the_bytes_that_may_be_pending_are_refused() -> None:
    scene = Scene()
    scene.pending.bytes.limit = 60
    first = scene.admit()
    with pytest.raises(UnavailableError, match="Exceeds maximum pending bytes"):
        scene.admit()
    scene.desk.withdraw(first)
    assert first.outcome.exception()
    scene.admit()
