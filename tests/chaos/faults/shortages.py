"""Memory and disks that are full."""

from __future__ import annotations

import asyncio
from random import Random

from redis.asyncio import Redis

from penstock.errors import PenstockError
from tests.chaos.disks import SmallDisk
from tests.chaos.fault import Fault
from tests.chaos.models import breakable_onnx
from tests.chaos.stage import Stage
from tests.chaos.stages.suite import SuiteStage

_SHORTAGE_S = 2.0


class RedisOutOfMemory(Fault):
    """Redis refuses whatever takes memory, as with ``maxmemory`` reached; what it has is not thrown away."""

    name = "redis-memory"
    breaks = "Redis out of memory (`maxmemory`)"
    promise = "UNAVAILABLE for new requests, at once; accepted ones are answered"
    lasts_s = _SHORTAGE_S
    calls_may = frozenset({"UNAVAILABLE"})

    async def strike(self, stage: Stage) -> None:
        await self._set_limit(stage, 1)

    async def mend(self, stage: Stage) -> None:
        await self._set_limit(stage, 0)

    @staticmethod
    async def _set_limit(stage: Stage, limit: int) -> None:
        async with Redis.from_url(stage.redis_url) as client:
            await client.config_set("maxmemory", limit)


class FullDisk(Fault):
    """A version is uploaded and tried while a disk is full: that fails, or waits, and what is served is served on."""

    lasts_s = _SHORTAGE_S
    promise = "nothing; a version uploaded meanwhile is refused with the reason, or waits"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._adding: asyncio.Task[str] | None = None

    def disk(self, stage: SuiteStage) -> SmallDisk:
        raise NotImplementedError

    def obstacle(self, stage: Stage) -> str:
        return self.disk(stage).obstacle if isinstance(stage, SuiteStage) else "there is no small disk on this stage"

    async def prepare(self, stage: Stage) -> None:
        assert isinstance(stage, SuiteStage)
        self._disk = self.disk(stage)
        # Other bytes each time: a file that is there already needs no room.
        self._path = breakable_onnx(stage.home / "next.onnx", loops=self.random.randrange(1_400, 1_600))

    async def strike(self, stage: Stage) -> None:
        await asyncio.to_thread(self._disk.fill)
        self._adding = asyncio.create_task(asyncio.to_thread(stage.add_version, self.model, self._path))

    async def mend(self, stage: Stage) -> None:
        await asyncio.to_thread(self._disk.clear)

    async def healed(self, stage: Stage) -> None:
        assert self._adding is not None
        try:
            await self._adding
        except PenstockError:
            await asyncio.to_thread(stage.add_version, self.model, self._path)
        await stage.whole()


class FullCacheDisk(FullDisk):
    name = "disk-cache"
    breaks = "disk full under the agent's cache"

    def disk(self, stage: SuiteStage) -> SmallDisk:
        return stage.cache_disk


class FullRegistryDisk(FullDisk):
    name = "disk-registry"
    breaks = "disk full under the registry's database and artifacts, and all logs"

    def disk(self, stage: SuiteStage) -> SmallDisk:
        return stage.registry_disk


SHORTAGES: tuple[type[Fault], ...] = (RedisOutOfMemory, FullCacheDisk, FullRegistryDisk)
