"""Health as callers see it who watch, and may never read."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from services.common.health_servicer import HealthServicer

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Watcher:
    """A caller of Watch; while ``reads`` is not set it takes nothing."""

    def __init__(self, health: HealthServicer, service: str = "") -> None:
        self.heard: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.task: asyncio.Task[None] = asyncio.create_task(health.Watch(HealthCheckRequest(service=service), self))

    async def write(self, response: Any) -> None:
        await self.reads.wait()
        self.heard.append(response.status)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_each_watcher_hears_every_lasting_change_though_others_leave_or_never_read() -> None:
    health = HealthServicer()
    health.set([""], NOT_SERVING)
    deaf, leaving, staying = (Watcher(health) for _ in range(3))
    deaf.reads.clear()
    await staying.settle()
    leaving.task.cancel()
    await staying.settle()

    health.set([""], SERVING)
    await staying.settle()

    assert (deaf.heard, leaving.heard, staying.heard) == ([], [NOT_SERVING], [NOT_SERVING, SERVING])
    for watcher in (deaf, staying):
        watcher.task.cancel()


async def test_leaving_is_the_last_word_and_ends_the_watch() -> None:
    health = HealthServicer()
    health.set(["", "a"], SERVING)
    watchers = [Watcher(health, "a"), Watcher(health, "unknown")]
    await watchers[0].settle()

    health.set(["a"], NOT_SERVING)
    health.leave()
    health.set(["a"], SERVING)
    await asyncio.gather(*(watcher.task for watcher in watchers))

    assert watchers[0].heard == [SERVING, NOT_SERVING]
    assert watchers[1].heard == [HealthCheckResponse.SERVICE_UNKNOWN]
    assert (await health.Check(HealthCheckRequest(service="a"), None)).status == NOT_SERVING
