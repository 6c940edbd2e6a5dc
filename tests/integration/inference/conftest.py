"""A lane without a gateway, for tests of what serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.common.lanes import LaneKeys
from services.common.redis_connection import connect
from tests.support.fake_gateway import FakeGateway


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def gateway(redis: Redis) -> AsyncIterator[FakeGateway]:
    async with FakeGateway(redis, LaneKeys("m", "1")) as gateway:
        yield gateway
