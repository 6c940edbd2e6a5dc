"""What every lane does, in memory or on Redis; and what only the one on Redis can show."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from redis.exceptions import RedisError

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common import lanes
from services.common.lanes import GROUP, LEASE_MS, Entry, LaneKeys
from services.common.redis_connection import connect
from services.inference.model_process import claims
from services.inference.model_process.lane import Delivery, Lane
from services.inference.model_process.redis_lane import RedisLane
from tests.support.memory_lane import MemoryLane
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

KEYS = LaneKeys("m", "1")
_numbers: Iterator[int] = itertools.count(1)


def entry(priority: int = 0, attempt: int = 1) -> Entry:
    now_ns = time.time_ns()
    envelope = Envelope(request_key=next(_numbers), priority=priority)
    return Entry(envelope, b"x", "", "", now_ns, now_ns + 60 * 10**9, attempt)


@dataclass
class Subject:
    lane: Lane
    put: Callable[[Entry], Awaitable[None]]
    unsettled: Callable[[], Awaitable[int]]
    dead: Callable[[], Awaitable[list[str]]]


@asynccontextmanager
async def memory() -> AsyncIterator[Subject]:
    lane = MemoryLane()

    async def put(one: Entry) -> None:
        lane.put(one)

    async def unsettled() -> int:
        return len(lane.unsettled)

    async def dead() -> list[str]:
        return [reason for _, reason in lane.dead_letters]

    yield Subject(lane, put, unsettled, dead)


@asynccontextmanager
async def running(url: str, consumer: str = "me", priority_levels: int = 1) -> AsyncIterator[RedisLane]:
    lane = RedisLane(url, KEYS, consumer=consumer, priority_levels=priority_levels)
    await lane.join(asyncio.Event())
    async with asyncio.TaskGroup() as group:
        group.create_task(lane.acknowledge())
        group.create_task(lane.keep())
        yield lane
        lane.leave()
    await lane.close()


@asynccontextmanager
async def on_redis(url: str) -> AsyncIterator[Subject]:
    redis = connect(url)

    async def put(one: Entry) -> None:
        await redis.xadd(KEYS.stream(one.envelope.priority), lanes.encode(one))

    async def unsettled() -> int:
        await asyncio.sleep(0.05)
        return sum([(await redis.xpending(stream, GROUP))["pending"] for stream in KEYS.streams(2)])

    async def dead() -> list[str]:
        await asyncio.sleep(0.05)
        return [fields[b"reason"].decode() for _, fields in await redis.xrange(KEYS.dead_letters)]

    async with running(url, priority_levels=2) as lane:
        yield Subject(lane, put, unsettled, dead)
    await redis.aclose()


@pytest.fixture(params=["memory", "redis"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    made = memory() if request.param == "memory" else on_redis(request.getfixturevalue("redis_url"))
    async with made as subject:
        yield subject


class TestEveryLane:
    async def test_gives_out_in_order_no_more_than_asked_for(self, subject: Subject) -> None:
        entries = [entry(1) for _ in range(5)]
        for one in entries:
            await subject.put(one)
        taken = await subject.lane.take(3, wait_s=None) + await subject.lane.take(3, wait_s=0)
        assert [one.entry for one in taken] == entries
        assert {(one.attempt, one.is_suspect) for one in taken} == {(1, False)}

    async def test_gives_the_more_urgent_first(self, subject: Subject) -> None:
        for priority in (2, 1, 2, 1):
            await subject.put(entry(priority))
        taken = await subject.lane.take(3, wait_s=0)
        assert [one.entry.envelope.priority for one in taken] == [1, 1, 2]

    async def test_answers_nothing_when_nothing_is_there(self, subject: Subject) -> None:
        assert await subject.lane.take(3, wait_s=0) == []
        assert await subject.lane.take(3, wait_s=0.0005) == []
        assert await subject.lane.take(3, wait_s=0.02) == []

    async def test_waits_for_the_first(self, subject: Subject) -> None:
        taking = asyncio.create_task(subject.lane.take(3, wait_s=None))
        await asyncio.sleep(0.05)
        await subject.put(entry(1))
        assert len(await taking) == 1

    async def test_can_be_woken(self, subject: Subject) -> None:
        taking = asyncio.create_task(subject.lane.take(3, wait_s=None))
        await asyncio.sleep(0.05)
        await subject.lane.wake()
        assert await asyncio.wait_for(taking, 1) == []

    async def test_keeps_what_was_taken_until_it_is_settled(self, subject: Subject) -> None:
        await subject.put(entry(1))
        await subject.put(entry(2))
        taken = await subject.lane.take(3, wait_s=0)
        assert await subject.unsettled() == 2
        subject.lane.bury(taken[0], "because")
        subject.lane.settle(taken)
        subject.lane.settle(taken)
        assert await subject.unsettled() == 0
        assert await subject.dead() == ["because"]

    async def test_counts_attempts_over_the_gateways_own(self, subject: Subject) -> None:
        await subject.put(entry(1, attempt=2))
        assert (await subject.lane.take(1, wait_s=0))[0].attempt == 2


async def take_some(lane: RedisLane) -> list[Delivery]:
    async with asyncio.timeout(10):
        while not (taken := await lane.take(8, wait_s=None)):
            pass
    return taken


async def test_what_a_dead_consumer_left_is_claimed_one_by_one(redis_url: str) -> None:
    redis = connect(redis_url)
    await redis.xgroup_create(KEYS.stream(0), GROUP, "0", mkstream=True)
    for _ in range(3):
        await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
    await redis.xreadgroup(GROUP, "dead", {KEYS.stream(0): ">"}, count=3)
    async with running(redis_url) as lane:
        for _ in range(3):
            taken = await take_some(lane)
            assert [(one.delivery_count, one.attempt, one.is_suspect) for one in taken] == [(2, 2, True)]
            assert await lane.take(8, wait_s=0.3) == [], "no other one before this one is settled"
            lane.settle(taken)
        await asyncio.sleep(0.7)
        assert [one["name"] for one in await redis.xinfo_consumers(KEYS.stream(0), GROUP)] == [b"me"]
    assert await redis.xlen(KEYS.stream(0)) == 0
    await redis.aclose()


async def test_a_live_consumers_entries_are_left_to_it(redis_url: str) -> None:
    redis = connect(redis_url)
    async with running(redis_url, "other") as other:
        await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
        taken = await other.take(1, wait_s=0)
        async with running(redis_url) as lane:
            assert await lane.take(1, wait_s=1.5) == []
        other.settle(taken)
    await redis.aclose()


async def test_what_a_consumer_leaves_that_dies_while_the_others_are_idle_is_claimed(redis_url: str) -> None:
    redis = connect(redis_url)
    async with running(redis_url) as lane:
        taking = asyncio.create_task(take_some(lane))
        await redis.zadd(KEYS.leases, {"other": time.time() * 1_000 + 60_000})
        await until(lambda: "other" in lane.lease.live_consumers)
        pipeline = redis.pipeline(transaction=True)  # in one step, so that it is "other" that gets the entry
        pipeline.xadd(KEYS.stream(0), lanes.encode(entry()))
        pipeline.xreadgroup(GROUP, "other", {KEYS.stream(0): ">"}, count=1)
        pipeline.zrem(KEYS.leases, "other")
        await pipeline.execute()
        taken = await taking
        assert [(one.delivery_count, one.is_suspect) for one in taken] == [(2, True)]
        lane.settle(taken)
    await redis.aclose()


async def test_an_idle_consumer_keeps_its_lease_and_has_it_again_when_redis_comes_back(
    redis_server: RedisServer,
) -> None:
    redis = connect(redis_server.url)

    async def lease_end() -> float:
        with contextlib.suppress(RedisError, OSError):
            return await redis.zscore(KEYS.leases, "me") or 0.0
        return 0.0

    async def until_renewed(before: float) -> float:
        async def is_renewed() -> bool:
            return await lease_end() > before

        await until(is_renewed)
        return await lease_end()

    async with running(redis_server.url) as lane:
        taking = asyncio.create_task(take_some(lane))
        end = await lease_end()
        for _ in range(3):
            end = await until_renewed(end)
        redis_server.kill()
        await asyncio.sleep(0.3)
        redis_server.start()
        await until_renewed(end)
        await redis.flushall()
        end = await until_renewed(0.0)
        await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
        lane.settle(await taking)
    await redis.aclose()


async def test_a_lane_goes_on_while_redis_has_no_memory_left(redis_server: RedisServer) -> None:
    redis = connect(redis_server.url)
    async with running(redis_server.url) as lane, running(redis_server.url, "other"):
        for _ in range(3):
            await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
        await redis.config_set("maxmemory", 1)
        await until(lambda: lane.lease.live_consumers == {"me", "other"})
        first, *others = await take_some(lane)
        lane.bury(first, "there is no room for it")
        lane.settle([first, *others])
        ends = await redis.zrange(KEYS.leases, 0, -1, withscores=True)

        async def are_renewed() -> bool:
            now = await redis.zrange(KEYS.leases, 0, -1, withscores=True)
            return all(score > dict(ends)[name] + LEASE_MS for name, score in now) and len(now) == 2

        await until(are_renewed)
        assert await redis.xlen(KEYS.dead_letters) == 0
    assert await redis.xlen(KEYS.stream(0)) == 0
    await redis.aclose()


async def test_a_renewal_that_is_on_its_way_does_not_outlive_a_consumer_that_leaves(redis_url: str) -> None:
    redis = connect(redis_url)
    for _ in range(10):
        async with running(redis_url) as lane:
            await until(lambda: lane.lease._connection is not None)
            lane.lease._turn()
        assert await redis.zcard(KEYS.leases) == 0
    await redis.aclose()


async def test_what_was_delivered_to_us_and_lost_on_the_way_is_found_again(redis_url: str) -> None:
    redis = connect(redis_url)
    async with running(redis_url) as lane:
        await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
        in_hand = await lane.take(1, wait_s=0)
        await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
        await redis.xreadgroup(GROUP, "me", {KEYS.stream(0): ">"}, count=1)  # an answer that never came
        await redis.client_kill_filter(_id=str(lane._reader_id))
        found = await take_some(lane)
        assert [(one.delivery_count, one.is_suspect) for one in found] == [(1, False)]
        assert found[0].entry_id != in_hand[0].entry_id
        lane.settle([*in_hand, *found])
    await redis.aclose()


@pytest.mark.parametrize("has_read", [True, False])
async def test_a_reader_that_hears_nothing_any_more_is_given_up(redis_url: str, has_read: bool) -> None:
    redis = connect(redis_url)
    async with running(redis_url) as lane:
        taking = asyncio.create_task(take_some(lane))

        async def waits() -> bool:
            return bool((await redis.info("clients"))["blocked_clients"])

        await until(waits)
        assert lane._reader is not None
        lane._reader._transport.pause_reading()  # as if a proxy swallowed what comes
        if not has_read:
            await redis.client_unblock(lane._reader_id)
        await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
        taken = await taking
        assert [(one.delivery_count, one.is_suspect) for one in taken] == [(1, False)]
        lane.settle(taken)
    await redis.aclose()


async def test_what_was_read_before_a_read_failed_is_given_out(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = connect(redis_url)
    async with running(redis_url, priority_levels=2) as lane:
        await redis.xadd(KEYS.stream(1), lanes.encode(entry(1)))
        assert lane._reader is not None
        execute = lane._reader.execute

        def break_at_the_second_lane(*commands: Any, **rest: Any) -> Any:
            answers = execute(*commands, **rest)
            if KEYS.stream(2) in commands[0]:
                lane._reader._transport.abort()
            return answers

        monkeypatch.setattr(lane._reader, "execute", break_at_the_second_lane)
        taken = await asyncio.wait_for(take_some(lane), 5)
        assert len(taken) == 1
        lane.settle(taken)
    await redis.aclose()


async def test_a_lane_of_priorities_can_be_woken_before_its_read_waits(redis_url: str) -> None:
    async with running(redis_url, priority_levels=2) as lane:
        for turns in range(5):
            taking = asyncio.create_task(lane.take(3, wait_s=None))
            for _ in range(turns + 1):
                await asyncio.sleep(0)
            await lane.wake()
            assert await asyncio.wait_for(taking, 1) == []


async def test_deleted_entries_of_a_dead_consumer_delay_nothing(redis_url: str) -> None:
    redis = connect(redis_url)
    await redis.xgroup_create(KEYS.stream(0), GROUP, "0", mkstream=True)
    ids = [await redis.xadd(KEYS.stream(0), lanes.encode(entry())) for _ in range(20)]
    await redis.xreadgroup(GROUP, "dead", {KEYS.stream(0): ">"}, count=20)
    await redis.xdel(KEYS.stream(0), *ids[:-1])
    await asyncio.sleep(0.3)
    async with running(redis_url) as lane:
        taken = await asyncio.wait_for(take_some(lane), 2)
        assert [one.entry_id for one in taken] == ids[-1:]
        lane.settle(taken)
    await redis.aclose()


async def test_a_claim_whose_answer_was_lost_is_found_by_a_reader_that_waits(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = connect(redis_url)
    await redis.xgroup_create(KEYS.stream(0), GROUP, "0", mkstream=True)
    await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
    await redis.xreadgroup(GROUP, "dead", {KEYS.stream(0): ">"}, count=1)
    claim, answers = claims.claim_one, iter([TimeoutError("no answer")])

    async def claim_without_answer(*args: Any, **rest: Any) -> Any:
        claimed = await claim(*args, **rest)
        if claimed is not None and (error := next(answers, None)):
            raise error
        return claimed

    monkeypatch.setattr(claims, "claim_one", claim_without_answer)
    async with running(redis_url) as lane:
        taken = await asyncio.wait_for(take_some(lane), 3)
        assert [(one.delivery_count, one.is_suspect) for one in taken] == [(2, True)]
        lane.settle(taken)
    await redis.aclose()


async def test_what_is_settled_is_not_given_out_again_while_redis_has_not_heard_of_it(redis_url: str) -> None:
    redis = connect(redis_url)
    lane = RedisLane(redis_url, KEYS, consumer="me")
    await lane.join(asyncio.Event())
    await redis.xadd(KEYS.stream(0), lanes.encode(entry()))
    lane.settle(await lane.take(1, wait_s=0))
    await redis.client_kill_filter(_id=str(lane._reader_id))
    for _ in range(3):
        assert await lane.take(1, wait_s=0.1) == []
    await lane.close()
    assert await redis.xlen(KEYS.stream(0)) == 0
    await redis.aclose()


@asynccontextmanager
async def several(url: str, count: int) -> AsyncIterator[list[RedisLane]]:
    """Lanes that know of each other; no leases run, since these could end on a busy machine."""
    names = [f"lane-{number}" for number in range(count)]
    found = [RedisLane(url, KEYS, consumer=name) for name in names]
    for lane in found:
        await lane.join(asyncio.Event())
        lane.lease.live_consumers = frozenset(names)
    yield found
    for lane in found:
        await lane.close()


async def put_at_once(redis: Any, count: int) -> None:
    pipeline = redis.pipeline(transaction=True)
    for _ in range(count):
        pipeline.xadd(KEYS.stream(0), lanes.encode(entry()))
    await pipeline.execute()


@pytest.mark.parametrize("burst", [64, 12, 4])
async def test_idle_instances_share_a_burst(redis_url: str, burst: int) -> None:
    redis = connect(redis_url)
    async with several(redis_url, 4) as instances:
        taking = [asyncio.create_task(lane.take(64, wait_s=None)) for lane in instances]
        while (await redis.info("clients"))["blocked_clients"] < 4:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        await put_at_once(redis, burst)
        async with asyncio.timeout(10):
            taken = await asyncio.gather(*taking)
        assert [len(one) for one in taken] == [burst // 4] * 4
        for lane, deliveries in zip(instances, taken, strict=True):
            lane.settle(deliveries)
    await redis.aclose()


async def test_an_instance_that_waits_for_long_says_so_again_every_few_seconds(redis_url: str) -> None:
    redis = connect(redis_url)
    async with several(redis_url, 2) as (lane, _):
        taking = asyncio.create_task(lane.take(64, wait_s=600))
        await until(lambda: redis.zscore(KEYS.idle, "lane-0"))
        assert await redis.zscore(KEYS.idle, "lane-0") < (time.time() + 6) * 1000
        await put_at_once(redis, 1)
        lane.settle(await taking)
    await redis.aclose()


async def test_an_instance_takes_whole_batches_while_the_others_are_busy(redis_url: str) -> None:
    redis = connect(redis_url)
    async with several(redis_url, 4) as instances:
        await put_at_once(redis, 200)
        for lane in instances[:3]:
            taken = await lane.take(64, wait_s=None)
            assert len(taken) == 64
            lane.settle(taken)
        last = await instances[3].take(64, wait_s=None)
        assert len(last) == 200 - 3 * 64
        instances[3].settle(last)
    await redis.aclose()


async def test_a_cancelled_command_ends_its_task(redis_url: str) -> None:
    redis = connect(redis_url)
    await redis.ping()

    async def work() -> None:
        await redis.xadd("s", {"a": 1})

    for _ in range(5):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await redis.aclose()
