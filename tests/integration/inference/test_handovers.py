"""Requests that a gateway gives to a model process past the lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from redis.asyncio import Redis

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common import lanes
from services.common.lanes import Entry, LaneKeys
from services.inference.model_process.redis_lane import RedisLane
from tests.integration.inference.test_lanes import running
from tests.support.fake_gateway import FakeGateway, infer_request, output_of
from tests.support.model_processes import ModelProcess, as_long_as_told_onnx
from tests.support.models import identity_onnx
from tests.support.waiting import until

KEYS = LaneKeys("m", "1")


@pytest.fixture
async def lane(redis_url: str) -> AsyncIterator[RedisLane]:
    async with running(redis_url) as lane:
        yield lane


def entry(key: int, attempt: int = 1) -> Entry:
    return Entry(Envelope(request_key=key), b"x", "", "", 1, 2, attempt)


async def take(lane: RedisLane, *, wait_s: float | None = None) -> list[int]:
    async with asyncio.timeout(10):
        return [one.entry.envelope.request_key for one in await lane.take(4, wait_s=wait_s)]


async def test_one_is_given_out_while_a_read_waits_and_the_read_goes_on(lane: RedisLane, redis: Redis) -> None:
    taking = asyncio.create_task(take(lane))
    await until(lambda: lane._is_blocked)
    assert lane.hand_over(entry(1))
    assert await taking == [1]
    assert await take(lane, wait_s=0) == []
    assert await take(lane, wait_s=0.05) == []
    await redis.xadd(KEYS.stream(0), lanes.encode(entry(2)))
    assert await take(lane) == [2]


async def test_what_the_lane_gives_meanwhile_is_given_out_too(lane: RedisLane, redis: Redis) -> None:
    taking = asyncio.create_task(take(lane))
    await until(lambda: lane._is_blocked)
    lane.hand_over(entry(1))
    assert await taking == [1]
    await redis.xadd(KEYS.stream(0), lanes.encode(entry(2)))
    await until(lambda: not lane._is_blocked)
    lane.hand_over(entry(3))
    assert await take(lane) == [2, 3]


async def test_a_lane_at_rest_gives_what_was_not_taken_and_takes_no_more(lane: RedisLane, redis: Redis) -> None:
    taking = asyncio.create_task(take(lane))
    await until(lambda: lane._is_blocked)
    lane.hand_over(entry(1))
    assert await taking == [1]
    lane.hand_over(entry(2))
    await lane.wake()
    assert [one.entry.envelope.request_key for one in await lane.rest()] == [2]
    assert not lane.hand_over(entry(3))
    await redis.xadd(KEYS.stream(0), lanes.encode(entry(4)))
    assert await lane.rest() == []


async def test_a_priority_lane_whose_read_waits_gives_it_out(redis_url: str, redis: Redis) -> None:
    async with running(redis_url, priority_levels=2) as lane:
        taking = asyncio.create_task(take(lane))
        await until(lambda: lane._is_blocked)
        lane.hand_over(entry(1))
        assert await taking == [1]
        await redis.xadd(KEYS.stream(2), lanes.encode(entry(2)))
        assert await take(lane) == [2]


async def test_one_that_a_process_may_have_died_of_is_a_suspect(lane: RedisLane, redis: Redis) -> None:
    await redis.xadd(KEYS.stream(0), lanes.encode(entry(1, attempt=2)))
    async with asyncio.timeout(10):
        (taken,) = await lane.take(1, wait_s=None)
    assert (taken.attempt, taken.is_suspect) == (2, True)


def rows(value: float) -> NDArray[np.float32]:
    return np.full((1, 16), value, np.float32)


async def test_a_model_process_answers_both_ways(gateway: FakeGateway, tmp_path: Path, redis_url: str) -> None:
    async with ModelProcess(identity_onnx(tmp_path / "model.onnx"), redis_url):
        assert (await gateway.ask(rows(0)) == 0).all()
        assert gateway.hellos[0].takes_handovers
        for value in range(1, 20):
            key = await gateway.hand_over(infer_request(rows(value)))
            reply = await gateway.reply_to(key)
            assert (output_of(reply) == value).all()
            assert reply.attempt == 1
            if value % 5 == 0:
                assert (await gateway.ask(rows(value)) == value).all()


async def test_a_process_that_leaves_refuses(gateway: FakeGateway, tmp_path: Path, redis_url: str) -> None:
    gateway.gives_receipts = False
    async with ModelProcess(as_long_as_told_onnx(tmp_path / "m.onnx"), redis_url) as process:
        await gateway.ask(rows(0))
        process.child.terminate()  # and waits for the receipt
        await process.heard(state="draining")

        async def is_refused() -> bool:
            await gateway.hand_over(infer_request(rows(0)))
            return bool(gateway.refused)

        await until(is_refused)
