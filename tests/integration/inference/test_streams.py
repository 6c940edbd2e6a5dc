"""Real model processes with a decoupled model, a real Redis, a gateway that takes responses."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis
from tritonclient.grpc import service_pb2

from services.common.lanes import GROUP, LaneKeys
from services.common.stream_window import RESPONSES
from services.inference.domain.fleet import Batching
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec
from tests.support.fake_gateway import FakeGateway, infer_request
from tests.support.model_processes import ModelProcess
from tests.support.waiting import until

KEYS = LaneKeys("m", "1")
STREAM = KEYS.stream(0)
INPUTS, OUTPUTS = (TensorSpec("INPUT0", "FP32", (2,)),), (TensorSpec("y", "FP32", (-1,)),)

CODE = """
import time
import numpy as np

class Model:
    def load(self, folder, options):
        self.journal = open(options["journal"], "a")

    def infer(self, inputs):
        count, pause_ms = inputs["INPUT0"].astype(int)
        try:
            for number in range(count):
                yield {"y": np.full(1, number, np.float32)}
                time.sleep(pause_ms / 1000)
        finally:
            print("closed", file=self.journal, flush=True)
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def started(tmp_path: Path, journal: Path, redis_url: str) -> Any:
    """Makes a process with this model."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.py").write_text(CODE)
    return partial(
        ModelProcess,
        tmp_path / "model",
        redis_url,
        format="python",
        signature=Signature(INPUTS, OUTPUTS, is_batchable=False, is_decoupled=True),
        manifest=Manifest(INPUTS, OUTPUTS, options={"journal": str(journal)}),
        batching=Batching(max_batch_size=1),
    )


def asking(count: int, *, pause_ms: int = 0) -> bytes:
    return infer_request(np.array([count, pause_ms], np.float32))


async def in_hand(redis: Redis) -> int:
    return int((await redis.xpending(STREAM, GROUP))["pending"])


def closings(journal: Path) -> int:
    return journal.read_text().count("closed")


async def test_an_entry_stays_in_the_lane_until_its_stream_has_ended(
    gateway: FakeGateway, started: Any, redis: Redis
) -> None:
    async with started():
        key = await gateway.send(asking(RESPONSES + 10))
        responses = await gateway.responses_to(key, RESPONSES)
        assert [one.index for one in responses] == list(range(RESPONSES))
        contents = [service_pb2.ModelInferResponse.FromString(one.response) for one in responses]
        assert [np.frombuffer(one.raw_output_contents[0], "<f4")[0] for one in contents] == list(range(RESPONSES))
        assert await in_hand(redis) == 1
        assert key not in gateway.replies
        await gateway.consume(key, 11)  # with 10 it would not be asked whether there is another one
        assert len(await gateway.responses_to(key, RESPONSES + 10)) == RESPONSES + 10
        reply = await gateway.reply_to(key)
        assert (reply.code, reply.response, reply.rows) == (0, b"", 1)
        assert gateway.batches[-1].is_execution_counted
        await until(lambda: _is_empty(redis))
    assert gateway.hellos[0].is_decoupled
    assert not gateway.hellos[0].takes_handovers


async def _is_empty(redis: Redis) -> bool:
    return await redis.xlen(STREAM) == 0 and await in_hand(redis) == 0


async def test_a_caller_that_leaves_frees_the_process(
    gateway: FakeGateway, started: Any, redis: Redis, journal: Path
) -> None:
    async with started():
        before = closings(journal)  # of the warm-up
        key = await gateway.send(asking(10_000))
        await gateway.responses_to(key, RESPONSES)
        await gateway.cancel(key)
        assert (await gateway.reply_to(key)).reason == "CANCELLED"
        assert closings(journal) == before + 1
        other = await gateway.send(asking(1))
        assert (await gateway.reply_to(other)).code == 0
        await until(lambda: _is_empty(redis))


async def test_a_gateway_that_is_replaced_frees_the_process(
    gateway: FakeGateway, started: Any, redis: Redis, journal: Path
) -> None:
    async with started():
        before = closings(journal)
        key = await gateway.send(asking(10_000))
        await gateway.responses_to(key, RESPONSES)
        await gateway.stop()
        async with FakeGateway(redis, KEYS, gateway_id="gateway-2", port=gateway.port) as successor:
            other = await successor.send(asking(1))
            assert (await successor.reply_to(other)).code == 0
        assert closings(journal) == before + 2


async def test_a_process_that_is_asked_to_leave_finishes_its_stream(
    gateway: FakeGateway, started: Any, redis: Redis
) -> None:
    async with started() as process:
        key = await gateway.send(asking(30, pause_ms=20))
        await gateway.responses_to(key, 1)
        process.child.terminate()
        assert len(await gateway.responses_to(key, 30)) == 30
        assert (await gateway.reply_to(key)).code == 0
        assert await process.ended() == ""
    assert await _is_empty(redis)


async def test_a_process_that_must_leave_says_how_far_its_stream_came(
    gateway: FakeGateway, started: Any, redis: Redis
) -> None:
    async with started(drain_timeout_s=0.5) as process:
        key = await gateway.send(asking(10_000, pause_ms=20))
        await gateway.responses_to(key, 1)
        process.child.terminate()
        reply = await gateway.reply_to(key)
        assert reply.reason == "SHUTTING_DOWN"
        assert reply.message == f"the model process shut down after {len(gateway.responses[key])} responses"
        assert await process.ended() == ""
    assert await _is_empty(redis)


async def test_the_stream_of_a_process_that_died_is_begun_anew(gateway: FakeGateway, started: Any) -> None:
    async with started() as first:
        key = await gateway.send(asking(RESPONSES + 1))
        await gateway.responses_to(key, RESPONSES)
        os.kill(first.child.pid, signal.SIGKILL)
        async with started(consumer="node.m.1.0@life.2"):
            responses = await gateway.responses_to(key, 2 * RESPONSES)
            assert [one.index for one in responses[RESPONSES:]] == list(range(RESPONSES))
            await gateway.consume(key, RESPONSES)
            assert (await gateway.reply_to(key)).attempt == 2
