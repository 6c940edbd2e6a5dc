"""When a lease is renewed, and what of Redis's answers is news."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from services.common.lane_clock import LaneClock
from services.common.lanes import LaneKeys
from services.inference.model_process.lease import Lease
from tests.support import virtual_loop

KEYS = LaneKeys("m", "1")
TIME = [b"1700000000", b"250000"]


def consumer(name: bytes, pending: int = 0) -> list[Any]:
    return [b"name", name, b"pending", pending, b"idle", 7]


@dataclass
class Redis:
    """A connection whose answers are written beforehand, and who counts when it is asked."""

    live: list[bytes] = field(default_factory=lambda: [b"me"])
    group: Any = field(default_factory=lambda: [consumer(b"me")])
    renewed: Any = 0
    length: int = 0
    is_silent: bool = False
    is_closed: bool = False
    asked_at: list[float] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)

    def execute(self, *commands: Any, **_: Any) -> asyncio.Future[list[Any]]:
        assert commands[0][0] == "EVAL"
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        answer.set_result([0, self.live, self.group, self.length, TIME])
        return answer

    def send(self, packed: bytes, count: int, take: Callable[[list[Any], Exception | None], None], **_: Any) -> None:
        assert packed.count(b"ZADD") == 1
        assert count == 5
        self.sent.append(packed)
        self.asked_at.append(round(asyncio.get_running_loop().time(), 1))
        self._take = take
        if not self.is_silent:
            take([self.renewed, self.live, self.group, self.length, TIME], None)

    def abort(self) -> None:
        self.is_closed = True
        self._take([], RedisConnectionError("aborted"))


class Stage:
    """A lease that runs; ``news`` are the times at which there was some."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.news: list[float] = []
        self.is_busy = False
        self.looks: list[tuple[int, int]] = []
        self.lease = Lease(
            KEYS,
            [KEYS.stream(0)],
            "me",
            is_busy=lambda: self.is_busy,
            on_news=self._note,
            on_look=lambda mine, waiting: self.looks.append((mine, waiting)),
            clock=LaneClock(),
        )

    def _note(self) -> None:
        self.news.append(round(asyncio.get_running_loop().time(), 1))

    async def run(self, seconds: float) -> None:
        connection: Any = self.redis
        await self.lease.renew(connection)
        self.lease.start()
        await asyncio.sleep(seconds)
        self.lease.stop()


def staged(scenario: Callable[[Stage], Coroutine[Any, Any, None]], **redis: Any) -> Stage:
    async def run() -> Stage:
        stage = Stage(Redis(**redis))
        await scenario(stage)
        return stage

    return virtual_loop.run(run())


def test_it_is_renewed_every_second_while_nothing_happens() -> None:
    stage = staged(lambda stage: stage.run(3.7))
    assert stage.redis.asked_at == [0.5, 1.0, 2.0, 3.0], "soon at first, since nothing is known of the others"
    assert stage.news == []
    assert stage.lease.live_consumers == {"me"}


def test_it_is_renewed_more_often_while_something_is_in_hand() -> None:
    async def scenario(stage: Stage) -> None:
        stage.is_busy = True
        await stage.run(1.7)

    assert staged(scenario).redis.asked_at == [0.5, 1.0, 1.5]


def test_it_is_renewed_more_often_while_others_have_something_in_hand() -> None:
    async def scenario(stage: Stage) -> None:
        running = asyncio.create_task(stage.run(4.7))
        await asyncio.sleep(1.5)
        stage.redis.live = [b"me", b"other"]
        stage.redis.group = [consumer(b"me"), consumer(b"other", pending=1)]
        await running

    stage = staged(scenario)
    assert stage.redis.asked_at == [0.5, 1.0, 2.0, 3.0, 3.5, 4.0, 4.5]
    assert stage.news == []
    assert stage.lease.live_consumers == {"me", "other"}


@pytest.mark.parametrize(
    "redis", [{"group": [consumer(b"me"), consumer(b"dead", pending=1)]}, {"group": ResponseError("NOGROUP")}]
)
def test_a_consumer_without_a_lease_and_a_lost_group_are_news(redis: dict[str, Any]) -> None:
    assert staged(lambda stage: stage.run(2.2), **redis).news == [0.5, 1.0, 1.5, 2.0]


def test_each_look_tells_what_is_ours_and_what_is_nobodys() -> None:
    group = [consumer(b"me", pending=2), consumer(b"other", pending=1)]
    stage = staged(lambda stage: stage.run(0.7), live=[b"me", b"other"], group=group, length=7)
    assert stage.looks == [(2, 4)]
    assert stage.news == []


def test_with_memory_full_it_is_renewed_by_a_script() -> None:
    stage = staged(lambda stage: stage.run(1.2), renewed=ResponseError("OOM command not allowed"))
    assert [b"EVAL" in packed for packed in stage.redis.sent] == [False, True]
    assert stage.news == [0.5, 1.0]


def test_a_connection_that_does_not_answer_is_broken_after_two_seconds() -> None:
    stage = staged(lambda stage: stage.run(3.7), is_silent=True)
    assert stage.redis.asked_at == [0.5], "once is enough"
    assert stage.redis.is_closed
    assert stage.news == [2.5, 3.0, 3.5]


def test_in_doubt_every_turn_is_news() -> None:
    async def scenario(stage: Stage) -> None:
        running = asyncio.create_task(stage.run(3.7))
        await asyncio.sleep(2.5)
        stage.lease.doubt()
        await running

    stage = staged(scenario)
    assert stage.redis.asked_at == [0.5, 1.0, 2.0]
    assert stage.news == [3.0]
