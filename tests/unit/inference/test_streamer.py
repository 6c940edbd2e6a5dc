"""A generator's life in a model process: held back, ended early, failing; in real threads, without sleeping."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.errors import CancelledByCallerError, InternalError, InvalidArgumentError, UnavailableError
from services.common.lanes import Entry
from services.common.stream_window import BYTES, RESPONSES
from services.inference.backends import Array, Arrays, InputError, RunError
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.flow import Flow
from services.inference.model_process.lane import Delivery
from services.inference.model_process.streamer import Streamer
from services.inference.model_process.worker import Request
from tests.support.fake_gateway import infer_request

SIGNATURE = Signature(
    (TensorSpec("INPUT0", "FP32", (2,)),), (TensorSpec("y", "FP32", (-1,)),), is_batchable=False, is_decoupled=True
)


class Model:
    """Makes as many responses of as many floats as it is asked for; fails at a response that is set before."""

    signature = SIGNATURE
    device = "cpu"

    def __init__(self) -> None:
        self.made = 0
        self.closed = threading.Event()
        self.fails_at: dict[int, Exception] = {}

    def run(self, inputs: Arrays) -> dict[str, Array]:
        raise RunError("streams")

    def stream(self, inputs: Arrays) -> Generator[dict[str, Array]]:
        count, size = inputs["INPUT0"].astype(int).tolist()
        try:
            for number in range(count):
                if number in self.fails_at:
                    raise self.fails_at[number]
                self.made += 1
                yield {"y": np.full(size, number, np.float32)}
        finally:
            self.closed.set()


class Gateways:
    def __init__(self) -> None:
        self.flows: list[Flow] = []
        self.responses: list[tuple[int, Any]] = []
        self.news = asyncio.Event()

    def begin_stream(self, _envelope: Envelope, flow: Flow) -> None:
        self.flows.append(flow)

    def end_stream(self, envelope: Envelope) -> None: ...

    def respond(self, _envelope: Envelope, index: int, response: bytes | memoryview) -> None:
        self.responses.append((index, service_pb2.ModelInferResponse.FromString(bytes(response))))
        self.news.set()

    async def has(self, count: int) -> None:
        while len(self.responses) < count:
            self.news.clear()
            await self.news.wait()


class Bench:
    def __init__(self) -> None:
        self.model, self.gateways = Model(), Gateways()
        encoder = Encoder(model="m", version="1", signature=SIGNATURE)
        self.streamer = Streamer(self.model, encoder, self.gateways, now_ns=time.time_ns)

    def start(self, count: int, *, size: int = 1, timeout_s: float = 60) -> asyncio.Task[Any]:
        content = infer_request(np.array([count, size], np.float32), request_id="r")
        now_ns = time.time_ns()
        entry = Entry(Envelope(request_key=1), content, "", "", now_ns, now_ns + int(timeout_s * 1e9))
        tensors = Decoder(model="m", signature=SIGNATURE).decode(content)
        return asyncio.create_task(self.streamer.stream(Request(Delivery("s", b"1-0", entry), tensors)))


@pytest.fixture
async def bench() -> Any:
    made = Bench()
    yield made
    for flow in made.gateways.flows:
        flow.end()
    await asyncio.to_thread(made.streamer.close)


async def test_each_response_is_sent_in_order_and_the_end_is_empty(bench: Bench) -> None:
    execution = await bench.start(5)
    assert [index for index, _ in bench.gateways.responses] == list(range(5))
    contents = [np.frombuffer(one.raw_output_contents[0], "<f4")[0] for _, one in bench.gateways.responses]
    assert contents == [0, 1, 2, 3, 4]
    assert {one.id for _, one in bench.gateways.responses} == {"r"}
    (outcome,) = execution.outcomes
    assert (outcome.response, outcome.error) == (b"", None)
    assert min(execution.input_ns, execution.infer_ns, execution.output_ns) > 0


@pytest.mark.parametrize(("size", "ahead"), [(1, RESPONSES), (BYTES // 4, 1), (BYTES // 16, 4)])
async def test_a_generator_waits_for_its_caller(size: int, ahead: int, bench: Bench) -> None:
    running = bench.start(RESPONSES + 20, size=size)
    await bench.gateways.has(ahead)
    (flow,) = bench.gateways.flows
    assert not running.done()
    assert bench.model.made == ahead
    flow.note_taken(1)
    await bench.gateways.has(ahead + 1)
    assert bench.model.made == ahead + 1
    flow.note_taken(1)  # nothing new
    for taken in range(RESPONSES + 20):
        flow.note_taken(taken + 1)
        await bench.gateways.has(min(taken + 1 + ahead, RESPONSES + 20))
    await running


async def test_a_caller_that_leaves_ends_a_generator_that_waits(bench: Bench) -> None:
    running = bench.start(10_000)
    await bench.gateways.has(RESPONSES)
    bench.gateways.flows[0].end()
    (outcome,) = (await running).outcomes
    assert isinstance(outcome.error, CancelledByCallerError)
    assert bench.model.closed.is_set()
    assert bench.model.made == RESPONSES


async def test_a_deadline_ends_a_generator_that_waits(bench: Bench) -> None:
    (outcome,) = (await bench.start(10_000, timeout_s=0.05)).outcomes
    assert outcome.error.reason == "DEADLINE_EXCEEDED"
    assert bench.model.closed.is_set()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RunError("no more"), InternalError),
        (InputError("INPUT0", {0: "got 9, expected less"}), InvalidArgumentError),
        (ZeroDivisionError("oh"), InternalError),
    ],
)
async def test_what_a_generator_raises_is_the_outcome(error: Exception, kind: type[Exception], bench: Bench) -> None:
    bench.model.fails_at = {3: error}
    (outcome,) = (await bench.start(5)).outcomes
    assert type(outcome.error) is kind
    assert len(bench.gateways.responses) == 3
    bench.model.fails_at = {}
    assert (await bench.start(2)).outcomes[0].error is None


async def test_a_process_in_a_hurry_ends_only_what_nobody_else_can_go_on_with(bench: Bench) -> None:
    bench.streamer.hurry()
    running = bench.start(10_000)
    await bench.gateways.has(RESPONSES)
    (flow,) = bench.gateways.flows
    bench.streamer.hurry()
    (outcome,) = (await running).outcomes
    assert isinstance(outcome.error, UnavailableError)
    assert outcome.error.message == f"the model process shut down after {flow.sent} responses"


def test_a_flow_that_ended_takes_no_more() -> None:
    flow = Flow()
    assert flow.wait()
    assert flow.add(10)
    flow.end(UnavailableError("first"))
    flow.end(UnavailableError("second"))
    assert not flow.wait()
    assert not flow.add(10)
    assert (flow.sent, str(flow.error)) == (1, "first")
