"""What people do to a suite that serves."""

from __future__ import annotations

import asyncio

from penstock.serving import Serving
from tests.chaos.fault import Fault
from tests.chaos.models import breakable_onnx
from tests.chaos.stage import DOOMED, REPLICAS, Stage
from tests.chaos.stages.suite import SuiteStage


class Deploy(Fault):
    name = "deploy"
    breaks = "a new version replaces the one that serves"
    promise = "nothing"

    async def prepare(self, stage: Stage) -> None:
        self._path = breakable_onnx(stage.home / "next.onnx", loops=self.random.randrange(1_400, 1_600))

    async def strike(self, stage: Stage) -> None:
        await asyncio.to_thread(stage.deploy, self.model, self._path)

    async def mend(self, stage: Stage) -> None:
        self._path.unlink()


class Undeploy(Fault):
    name = "undeploy"
    breaks = "the model is undeployed"
    promise = "NOT_FOUND for later requests; accepted ones are answered"
    model = DOOMED
    calls_may = frozenset({"NOT_FOUND", "UNAVAILABLE"})
    comes_back = False
    lasts_s = 2.0

    async def prepare(self, stage: Stage) -> None:
        self._client = stage.client()
        (self._version,) = (await asyncio.to_thread(self._client.deployment, self.model)).versions

    async def strike(self, stage: Stage) -> None:
        await asyncio.to_thread(self._client.undeploy, self.model)

    async def mend(self, stage: Stage) -> None:
        serving = Serving(replicas=REPLICAS[self.model], optimize="off")
        with self._client as client:
            await asyncio.to_thread(client.deploy, self.model, self._version, serving=serving)


class RollingRestart(Fault):
    """All processes of the suite, Redis too, are replaced while clients ask."""

    name = "restart-rolling"
    breaks = "`penstock restart --rolling` of everything"
    promise = "nothing"

    async def prepare(self, stage: Stage) -> None:
        parts = [part for part in stage.parts if part != "redis"]
        self._before = [pid for part in parts for pid in await asyncio.to_thread(stage.pids, part)]

    async def strike(self, stage: Stage) -> None:
        assert isinstance(stage, SuiteStage)
        await asyncio.to_thread(stage.restart, "--rolling")

    async def healed(self, stage: Stage) -> None:
        await stage.whole(without=self._before)


CHANGES: tuple[type[Fault], ...] = (Deploy, Undeploy, RollingRestart)
