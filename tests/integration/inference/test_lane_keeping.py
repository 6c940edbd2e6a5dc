"""What an agent leaves in Redis of a model process that has ended."""

from __future__ import annotations

import time

import pytest
from redis.asyncio import Redis

from services.common.lanes import GROUP, LaneKeys
from services.common.redis_connection import connect
from services.common.redis_masters import RedisMasters
from services.inference.adapters.lane_keeping import end_lease

LANE = LaneKeys("m", "1")
STREAMS = LANE.streams(2)


@pytest.fixture
async def redis(redis_url: str) -> Redis:
    client = connect(redis_url)
    for stream in STREAMS:
        await client.xgroup_create(stream, GROUP, "0", mkstream=True)
    await client.zadd(LANE.leases, {"me": time.time() * 1000 + 60_000})
    await client.zadd(LANE.idle, {"me": 1})
    return client


async def end(redis_url: str) -> None:
    await end_lease(RedisMasters(redis_url), LANE, STREAMS, "me")


async def test_the_last_one_leaves_nothing_of_a_lane_that_is_empty(redis: Redis, redis_url: str) -> None:
    await redis.xadd(LANE.dead_letters, {"reason": "POISON_MESSAGE"})
    await end(redis_url)
    assert await redis.keys("*") == [LANE.dead_letters.encode()]
    await redis.aclose()


async def test_a_lane_that_others_read_stays(redis: Redis, redis_url: str) -> None:
    await redis.zadd(LANE.leases, {"another": time.time() * 1000 + 60_000})
    await end(redis_url)
    assert await redis.zrange(LANE.leases, 0, -1) == [b"another"]
    assert await redis.zrange(LANE.idle, 0, -1) == [], "the dead one waits for nothing any more"
    assert await redis.exists(*STREAMS) == 2
    await redis.aclose()


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_lane_in_which_something_waits_stays(redis: Redis, redis_url: str, stream: str) -> None:
    await redis.xadd(stream, {"head": "x"})
    await end(redis_url)
    assert await redis.exists(*STREAMS) == 2
    assert await redis.zrange(LANE.leases, 0, -1) == []
    await redis.aclose()


async def test_others_whose_lease_has_ended_keep_nothing(redis: Redis, redis_url: str) -> None:
    await redis.zadd(LANE.leases, {"another": time.time() * 1000 - 60_000})
    await end(redis_url)
    assert await redis.keys("*") == []
    await redis.aclose()


async def test_redis_away_is_no_harm() -> None:
    await end("redis://127.0.0.1:1")
