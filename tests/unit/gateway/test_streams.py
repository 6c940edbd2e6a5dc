"""Streams of responses at the gateway: each response once, all of one process, bounded; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from penstock.gateway.v1.reply_service_pb2 import BatchReply, ConnectRequest, ConnectResponse, Hello, Reply
from services.common.errors import InvalidArgumentError, UnavailableError, UnimplementedError
from services.common.tracing import SpanKind
from services.gateway.domain.lane import Lane
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from services.gateway.domain.tickets import Ticket
from services.gateway.grpc_servicer import GrpcInfer
from services.gateway.inference import Desk
from services.gateway.pending import PendingTable
from services.gateway.reply_servicer import ReplyServicer
from services.gateway.rest_generate import Generation, begin
from services.gateway.spans import RequestSpans
from services.gateway.stream_call import StreamCall
from services.gateway.workers import Stream, Worker
from tests.support.virtual_loop import run
from tests.unit.gateway.requests import infer_request, infer_response, served

END = {"triton_enable_empty_final_response": pb.InferParameter(bool_param=True)}


class Pipe:
    """A connected process, as the servicer of replies sees it; keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[ConnectResponse] = []

    def say(self, message: ConnectResponse) -> None:
        self.told.append(message)

    async def write(self, message: ConnectResponse) -> None:
        self.told.append(message)


class Process:
    """A model process of the decoupled model ``m``, and what it is told."""

    def __init__(self, scene: Scene, name: str) -> None:
        self._scene = scene
        self._sequence = 0
        self.worker = scene.replies._workers[name] = Worker(Hello(consumer=name, model="m", is_decoupled=True))
        self.connect()

    def connect(self) -> None:
        self.pipe = Pipe()
        self.stream = Stream(self.worker, self.pipe)
        self.worker.streams.append(self.stream)
        self._scene.replies._streams["m", ""].append(self.stream)
        self._scene.replies._open_streams.tell_again(self.worker, self.stream)

    def leave(self) -> None:
        self.worker.streams.clear()

    def respond(self, key: int, index: int, *, sequence: int = 0) -> None:
        self._sequence = sequence or self._sequence + 1
        request = ConnectRequest()
        message = request.stream_response
        message.sequence, message.request_key, message.index = self._sequence, key, index
        message.response = infer_response(id=f"{key}.{index}")
        self._scene.replies._take(self.worker, self.stream, request)

    def end(self, key: int, **reply: Any) -> None:
        self._sequence += 1
        batch = BatchReply(sequence=self._sequence, batch_rows=1, replies=[Reply(request_key=key, rows=1, **reply)])
        self._scene.replies._take(self.worker, self.stream, ConnectRequest(batch_reply=batch))

    @property
    def consumption(self) -> list[int]:
        return [one.consumption.responses for one in self.pipe.told if one.HasField("consumption")]

    async def cancelled(self) -> list[int]:
        await self.stream.flush()
        told = self.pipe.told
        return [key for one in told if one.HasField("cancellation") for key in one.cancellation.request_keys]


class Spans:
    """An exporter that keeps the attributes of SERVER spans."""

    def __init__(self) -> None:
        self.servers: list[Any] = []

    def export(self, _name: str, _context: Any, *, kind: SpanKind, attributes: Any, **_more: Any) -> None:
        if kind is SpanKind.SERVER:
            self.servers.append(attributes)


class Scene:
    """A gateway from ModelStreamInfer to its reply streams. ``m`` is decoupled, ``u`` isn't."""

    def __init__(self) -> None:
        self.exported: Any = Spans()
        spans = self.spans = RequestSpans(self.exported, sample_ratio=1.0)
        self.bytes = PendingBytes()
        self.pending = PendingTable(spans, pending_bytes=self.bytes)
        self.removed: list[int] = []
        self.replies = ReplyServicer(
            gateway_id="g",
            pending=self.pending,
            find_lane=lambda *_: self.lane,
            on_taken_back=lambda _: None,
            on_broken=self.remove,
        )
        self.desk = Desk(
            pending=self.pending, spans=spans, queue=self, cancellations=self.replies, recovery_grace_s=10.0
        )
        self.lane = Lane(served(is_decoupled=True, max_batch_size=0, version=""), now=0.0)
        self.unary = Lane(served(model="u", version="", max_batch_size=0), now=0.0)
        for lane in (self.lane, self.unary):
            lane.observe_consumers(1, now=0.0)
        self.desk.routes = RoutingTable({"m": ModelRoutes({"": self.lane}), "u": ModelRoutes({"": self.unary})})
        self.written: list[Any] = []
        self.requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.reads = asyncio.Event()
        """Whether the caller reads."""
        self.reads.set()

    def put(self, _ticket: Ticket) -> None: ...

    def remove(self, ticket: Ticket) -> None:
        self.removed.append(ticket.key)

    async def write(self, message: bytes) -> None:
        await self.reads.wait()
        self.written.append(pb.ModelStreamInferResponse.FromString(message))

    def time_remaining(self) -> None: ...

    async def _messages(self) -> AsyncIterator[bytes]:
        while (message := await self.requests.get()) is not None:
            yield message

    def open(self, *, is_strict: bool = False) -> asyncio.Task[None]:
        self.call = StreamCall(
            self,
            desk=self.desk,
            parse=pb.ModelInferRequest.FromString,
            arrive=self.spans.arrive,
            caller="somebody",
            is_strict=is_strict,
            pending_bytes=self.bytes,
        )
        return asyncio.create_task(self.call.run(self._messages()))

    async def ask(self, model: str = "m", **more: Any) -> int:
        """Send a request; its key."""
        await self.requests.put(infer_request(model=model, **more).SerializeToString())
        await self.settle()
        return max((ticket.key for ticket in self.pending.unsettled()), default=0)

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def ids(self) -> list[str]:
        return [one.infer_response.id for one in self.written]

    @property
    def finals(self) -> list[bool]:
        return [one.infer_response.parameters["triton_final_response"].bool_param for one in self.written]


def test_responses_are_passed_on_as_they_come_and_counted_as_one_request() -> None:
    async def scenario() -> None:
        scene = Scene()
        process, call = Process(scene, "p"), scene.open()
        key = await scene.ask(id="a", parameters=END)
        for index in range(3):
            process.respond(key, index)
            await scene.settle()
            assert scene.ids == [f"{key}.{at}" for at in range(index + 1)]
        process.end(key)
        await scene.requests.put(None)
        await call
        assert scene.ids[-1] == "a"
        assert scene.finals == [False, False, False, True]
        assert (scene.lane.statistics.success.count, scene.lane.unsettled, scene.bytes.held) == (1, 0, 0)
        assert [one["penstock.responses"] for one in scene.exported.servers] == [3]

    run(scenario())


def test_a_repeated_message_is_passed_on_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        process, _call = Process(scene, "p"), scene.open()
        key = await scene.ask()
        process.respond(key, 0)
        process.respond(key, 0, sequence=1)
        await scene.settle()
        assert scene.ids == [f"{key}.0"]

    run(scenario())


def test_another_process_that_runs_a_request_again_is_told_to_stop() -> None:
    async def scenario() -> None:
        scene = Scene()
        first, second, _call = Process(scene, "p"), Process(scene, "q"), scene.open()
        key = await scene.ask(parameters=END)
        first.respond(key, 0)
        second.respond(key, 0)
        second.end(key, code=1, reason="CANCELLED")
        assert await second.cancelled() == [key]
        assert await first.cancelled() == []
        first.respond(key, 1)
        first.end(key)
        await scene.settle()
        assert scene.ids == [f"{key}.0", f"{key}.1", ""]

    run(scenario())


@pytest.mark.parametrize("is_run_again", [True, False])
def test_a_process_that_died_in_the_middle_ends_the_request_and_says_how_many_came(*, is_run_again: bool) -> None:
    async def scenario() -> None:
        scene = Scene()
        first, second, _call = Process(scene, "p"), Process(scene, "q"), scene.open()
        key = await scene.ask(id="a")
        first.respond(key, 0)
        first.respond(key, 1)
        first.leave()
        if is_run_again:
            second.respond(key, 0)
        else:
            first.worker.left_at = -3.0
            scene.replies.break_orphans(gone_for_s=2)
        await scene.settle()
        assert scene.ids == [f"{key}.0", f"{key}.1", "a"]
        failed = scene.written[-1]
        assert "the model process ended after 2 responses" in failed.error_message
        assert failed.infer_response.parameters["status"].string_param == "UNAVAILABLE"
        assert scene.removed == [key]
        assert key in await second.cancelled()

    run(scenario())


def test_a_process_that_died_before_the_first_response_is_followed_by_another() -> None:
    async def scenario() -> None:
        scene = Scene()
        first, second, _call = Process(scene, "p"), Process(scene, "q"), scene.open()
        key = await scene.ask()
        first.leave()
        first.worker.left_at = -3.0
        scene.replies.break_orphans(gone_for_s=2)
        second.respond(key, 0)
        second.respond(key, 1)
        await scene.settle()
        assert scene.ids == [f"{key}.0", f"{key}.1"]

    run(scenario())


def test_a_process_that_connects_again_goes_on_and_hears_how_far_its_caller_is() -> None:
    async def scenario() -> None:
        scene = Scene()
        process, _call = Process(scene, "p"), scene.open()
        key = await scene.ask()
        for index in range(5):
            process.respond(key, index)
        await scene.settle()
        process.leave()
        process.connect()
        assert process.consumption == [5]
        process.respond(key, 5)
        await scene.settle()
        assert len(scene.ids) == 6

    run(scenario())


def test_what_the_caller_has_taken_is_reported_and_nothing_before() -> None:
    async def scenario() -> None:
        scene = Scene()
        process, _call = Process(scene, "p"), scene.open()
        key = await scene.ask()
        scene.reads.clear()
        for index in range(40):
            process.respond(key, index)
        await scene.settle()
        assert process.consumption == []
        assert scene.bytes.held > 0
        scene.reads.set()
        await scene.settle()
        assert process.consumption == [16, 32]

    run(scenario())


def test_a_caller_that_leaves_takes_its_requests_along() -> None:
    async def scenario() -> None:
        scene = Scene()
        process, call = Process(scene, "p"), scene.open()
        keys = [await scene.ask(), await scene.ask()]
        scene.reads.clear()
        process.respond(keys[0], 0)
        await scene.settle()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert sorted(await process.cancelled()) == keys
        assert (len(scene.pending), scene.bytes.held, sorted(scene.removed)) == (0, 0, keys)
        process.respond(keys[0], 1)  # it was on its way
        assert sorted(await process.cancelled()) == sorted([*keys, keys[0]])

    run(scenario())


def test_requests_are_not_read_while_many_are_open_or_answers_are_not_read() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.open()
        for _ in range(300):
            await scene.requests.put(infer_request(model="m").SerializeToString())
        await asyncio.sleep(1)
        assert len(scene.pending) == 256

    run(scenario())


def test_answers_of_models_that_are_not_decoupled_keep_the_order_of_their_requests() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.open()
        first, second = await scene.ask("u"), await scene.ask("u")
        await scene.ask("nobody", id="third")
        replies = [Reply(request_key=key, response=infer_response(id=str(key)), rows=1) for key in (second, first)]
        scene.pending.settle_batch(BatchReply(replies=replies[:1], batch_rows=1), scene.unary)
        await scene.settle()
        assert scene.ids == []
        scene.pending.settle_batch(BatchReply(replies=replies[1:], batch_rows=1), scene.unary)
        await scene.settle()
        assert scene.ids == [str(first), str(second), "third"]
        assert scene.finals == [True, True, True]

    run(scenario())


def test_the_first_error_ends_a_strict_call_with_its_status() -> None:
    async def scenario() -> None:
        scene = Scene()
        process, call = Process(scene, "p"), scene.open(is_strict=True)
        key = await scene.ask()
        process.respond(key, 0)
        process.end(key, code=3, message="wrong", reason="WRONG")
        with pytest.raises(InvalidArgumentError, match=r"^wrong$"):
            await call
        assert scene.ids == [f"{key}.0"]

    run(scenario())


def test_a_call_that_drains_ends_with_its_last_open_request() -> None:
    async def scenario() -> None:
        scene = Scene()
        process, call = Process(scene, "p"), scene.open()
        key = await scene.ask(parameters=END)
        scene.call.drain()
        await scene.requests.put(infer_request(model="m").SerializeToString())
        process.respond(key, 0)
        await scene.settle()
        assert not call.done()
        process.end(key)
        with pytest.raises(UnavailableError, match="shutting down"):
            await call
        assert scene.finals == [False, True]
        assert len(scene.pending) == 0

    run(scenario())


def test_unary_apis_refuse_decoupled_models_also_in_a_form_that_a_stream_had() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.open()
        await scene.ask()
        message = infer_request(model="m").SerializeToString()
        for _ in range(2):
            with pytest.raises(UnimplementedError, match="ask model 'm' by ModelStreamInfer"):
                scene.desk.admit(
                    message,
                    pb.ModelInferRequest.FromString,
                    scene.spans.arrive(GrpcInfer()),
                    caller="c",
                    time_left_s=None,
                    outcome=asyncio.get_running_loop().create_future(),
                )

    run(scenario())


def test_a_client_of_rest_that_leaves_before_the_first_response_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        held, left = PendingBytes(), []

        async def receive() -> dict[str, str]:
            await asyncio.sleep(1)
            return {"type": "http.disconnect"}

        def leave() -> None:
            generation.drop()
            left.append(True)

        generation = Generation("/", held)
        stream = await begin(generation, receive, leave)
        assert [event async for event in stream.body_iterator] == []
        assert left

    run(scenario())


def test_what_a_client_of_rest_has_not_taken_is_forgotten_when_it_leaves() -> None:
    async def scenario() -> None:
        held, reported = PendingBytes(), []
        generation = Generation("/", held)
        generation.begin("p", reported.append)
        for number in range(20):
            generation.add(infer_response(("n", "INT64", np.array([number]), [1])))
        await generation.begun()
        events = generation.events()
        taken = [await anext(events) for _ in range(18)]
        assert b'"n": 17' in taken[-1]
        assert reported == [16]
        assert held.held > 0
        generation.drop()
        assert [event async for event in events] == []
        assert held.held == 0

    run(scenario())


def test_a_response_that_json_cant_carry_ends_the_events_with_an_error() -> None:
    async def scenario() -> None:
        generation = Generation("/", PendingBytes())
        generation.add(infer_response(("n", "BYTES", b"\x01\0\0\0\xff", [1])))
        generation.set_result(b"")
        (event,) = [event async for event in generation.events()]
        assert b"output 'n' holds bytes that are no UTF-8 text" in event

    run(scenario())


def test_a_wrong_kind_of_the_final_response_parameter_is_named() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.open()
        wrong = {"triton_enable_empty_final_response": pb.InferParameter(int64_param=1)}
        await scene.ask(parameters=wrong)
        assert "is int64_param, expected bool_param" in scene.written[0].error_message

    run(scenario())
