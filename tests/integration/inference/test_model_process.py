"""One real model process, a real Redis, a gateway that takes replies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from services.common.lanes import GROUP, LaneKeys
from services.common.redis_connection import connect
from services.inference.domain.fleet import Batching
from tests.support.fake_gateway import FakeGateway, infer_request, output_of
from tests.support.model_processes import ModelProcess
from tests.support.models import identity_onnx, slow_onnx
from tests.support.redis_server import RedisServer

KEYS = LaneKeys("m", "1")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def gateway(redis: Redis) -> AsyncIterator[FakeGateway]:
    async with FakeGateway(redis, KEYS) as gateway:
        yield gateway


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return identity_onnx(tmp_path / "model.onnx")


def rows(count: int, seed: float) -> np.ndarray:
    return np.full((count, 16), seed, np.float32) + np.arange(16, dtype=np.float32)


async def test_each_request_gets_its_own_rows(gateway: FakeGateway, model: Path, redis_url: str, redis: Redis) -> None:
    sizes = list(itertools.islice(itertools.cycle([1, 3, 2]), 60))
    keys = [await gateway.send(infer_request(rows(size, n)), rows=size) for n, size in enumerate(sizes)]
    async with ModelProcess(model, redis_url) as process:
        for n, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            np.testing.assert_array_equal(output_of(await gateway.reply_to(key)), rows(size, n))
        process.child.terminate()
        assert await process.ended() == ""

    assert all(batch.batch_rows <= 8 for batch in gateway.batches)
    assert sum(batch.is_execution_counted for batch in gateway.batches) == len(gateway.batches) < 30
    assert await redis.xlen(KEYS.stream(0)) == 0
    assert await redis.zcard(KEYS.leases) == 0
    assert await redis.xinfo_consumers(KEYS.stream(0), GROUP) == []


async def test_a_lone_request_is_answered_at_once(gateway: FakeGateway, model: Path, redis_url: str) -> None:
    async with ModelProcess(model, redis_url):
        await gateway.ask(rows(1, 0))
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await gateway.ask(rows(1, 1))
        assert loop.time() - start < 0.05
