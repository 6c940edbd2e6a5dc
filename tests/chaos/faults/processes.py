"""Processes that are killed, and processes that stand still for a while."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import ClassVar

from tests.chaos.callers import CONNECTION_LOST
from tests.chaos.fault import Fault
from tests.chaos.stage import LONE, STEADY, Stage

PAUSE_S = 5.0
_GONE = frozenset({"UNAVAILABLE", CONNECTION_LOST})


class KillFault(Fault):
    """``kill -9``; whoever supervises the process starts it again."""

    part: ClassVar[str]
    promise = "latency"

    async def prepare(self, stage: Stage) -> None:
        self.victims = [self.random.choice(await self.candidates(stage))]

    async def candidates(self, stage: Stage) -> list[int]:
        return await asyncio.to_thread(stage.pids, self.part)

    async def strike(self, stage: Stage) -> None:
        for pid in self.victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def mend(self, stage: Stage) -> None:
        await stage.revive(self.part)

    async def healed(self, stage: Stage) -> None:
        await stage.whole(without=self.victims)


class KillModelWithSpare(KillFault):
    name = "kill-model-spare"
    breaks = "model process killed, another one serves the model too"
    part = "model"
    recovers_within_s: ClassVar[float | None] = 2.0

    async def candidates(self, stage: Stage) -> list[int]:
        return [instance.pid for instance in await stage.instances(self.model)]


class KillModelAlone(KillModelWithSpare):
    name = "kill-model-alone"
    breaks = "the only process of a model killed"
    model = LONE
    recovers_within_s = None


class KillAgent(KillFault):
    """Its model processes serve on until those of the next agent are ready; then everything is as before."""

    name = "kill-agent"
    breaks = "agent killed"
    promise = "nothing"
    part = "inference"
    recovers_within_s = 5.0

    async def prepare(self, stage: Stage) -> None:
        await super().prepare(stage)
        self._orphans = await asyncio.to_thread(stage.pids, "model")

    async def healed(self, stage: Stage) -> None:
        await stage.whole(without=[*self.victims, *self._orphans])


class KillNode(KillFault):
    name = "kill-node"
    breaks = "agent and all its model processes killed, on the only node"
    part = "inference"
    model = STEADY

    async def prepare(self, stage: Stage) -> None:
        self.victims = [pid for part in ("inference", "model") for pid in await asyncio.to_thread(stage.pids, part)]


class KillGateway(KillFault):
    name = "kill-gateway"
    breaks = "one of two gateway processes killed"
    promise = "UNAVAILABLE for the calls that were open on it"
    part = "gateway"
    open_calls_may = _GONE


class KillRegistry(KillFault):
    name = "kill-registry"
    breaks = "registry killed"
    promise = "nothing"
    part = "registry"


class KillMonitor(KillFault):
    name = "kill-monitor"
    breaks = "monitor killed"
    promise = "nothing"
    part = "monitor"


class KillRedis(KillFault):
    name = "kill-redis"
    breaks = "Redis killed; it comes back without its data"
    part = "redis"
    recovers_within_s = 5.0


class PauseFault(Fault):
    """SIGSTOP, and SIGCONT five seconds later."""

    part: ClassVar[str]
    lasts_s = PAUSE_S
    promise = "latency"

    async def prepare(self, stage: Stage) -> None:
        self.victims = [self.random.choice(await self.candidates(stage))]

    async def candidates(self, stage: Stage) -> list[int]:
        return await asyncio.to_thread(stage.pids, self.part)

    async def strike(self, stage: Stage) -> None:
        self._signal(signal.SIGSTOP)

    async def mend(self, stage: Stage) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class PauseModel(PauseFault):
    name = "pause-model"
    breaks = "model process stands still, another one serves the model too"
    part = "model"

    async def candidates(self, stage: Stage) -> list[int]:
        return [instance.pid for instance in await stage.instances(self.model)]


class PauseAgent(PauseFault):
    name = "pause-agent"
    breaks = "agent stands still"
    promise = "nothing"
    part = "inference"


class PauseGateway(PauseFault):
    name = "pause-gateway"
    breaks = "one of two gateway processes stands still"
    promise = "latency on its connections"
    part = "gateway"


class PauseRegistry(PauseFault):
    name = "pause-registry"
    breaks = "registry stands still"
    promise = "nothing"
    part = "registry"


class PauseMonitor(PauseFault):
    name = "pause-monitor"
    breaks = "monitor stands still"
    promise = "nothing"
    part = "monitor"


class PauseRedis(PauseFault):
    name = "pause-redis"
    breaks = "Redis stands still"
    part = "redis"


PROCESS_FAULTS: tuple[type[Fault], ...] = (
    KillModelWithSpare, KillModelAlone, KillAgent, KillNode, KillGateway, KillRegistry, KillMonitor, KillRedis,
    PauseModel, PauseAgent, PauseGateway, PauseRegistry, PauseMonitor, PauseRedis,
)  # fmt: skip
