"""The master of a Redis that has replicas is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from tests.chaos.fault import Fault
from tests.chaos.faults.processes import PAUSE_S
from tests.chaos.stage import Stage
from tests.chaos.stages.topologies import TopologyStage

_AWAY_S = 3.5


class MasterFault(Fault):
    promise = "latency"
    lasts_s = _AWAY_S
    recovers_within_s = 5.0

    async def prepare(self, stage: Stage) -> None:
        if not isinstance(stage, TopologyStage):
            raise TypeError(f"got the stage {stage.name}, expected a Redis with replicas")
        self.master = await stage.master()
        self._pid: int = (await asyncio.to_thread(self.master.client.info, "server"))["process_id"]

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)


class KillMaster(MasterFault):
    name = "kill-redis-sentinel"
    breaks = "Redis' master killed; Sentinel makes its replica the master"
    stage = "sentinel"

    async def strike(self, stage: Stage) -> None:
        await asyncio.to_thread(self.master.kill)

    async def mend(self, stage: Stage) -> None:
        await stage.revive("redis")


class PauseMaster(MasterFault):
    name = "pause-redis-sentinel"
    breaks = "Redis' master stands still; Sentinel makes its replica the master"
    stage = "sentinel"
    lasts_s = PAUSE_S

    async def strike(self, stage: Stage) -> None:
        self.signal(signal.SIGSTOP)

    async def mend(self, stage: Stage) -> None:
        self.signal(signal.SIGCONT)


class KillShard(KillMaster):
    name = "kill-redis-cluster"
    breaks = "the master of a model's lanes killed; the Cluster makes its replica the master"
    stage = "cluster"


class PauseShard(PauseMaster):
    name = "pause-redis-cluster"
    breaks = "the master of a model's lanes stands still; the Cluster makes its replica the master"
    stage = "cluster"


TOPOLOGY_FAULTS: tuple[type[Fault], ...] = (KillMaster, PauseMaster, KillShard, PauseShard)
