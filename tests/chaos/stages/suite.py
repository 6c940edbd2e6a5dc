"""``penstock up`` with two gateway processes and a Redis without persistence; it starts again what dies."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import Collection

import httpx
import psutil

from tests.chaos.callers import Fronts
from tests.chaos.disks import SmallDisk
from tests.chaos.models import breakable_onnx
from tests.chaos.stage import REPLICAS, Stage, words_of
from tests.support.suite import Suite

_MODULES = {
    "gateway": "services.gateway.processes",
    "inference": "services.inference",
    "model": "services.inference.model_process",
    "registry": "services.registry",
    "monitor": "services.monitor",
}
_MEBIBYTES = 96
_READY = re.compile(r"^penstock_gateway_ready(?:\{[^}]*\})? 1\.0$", re.MULTILINE)


class SuiteStage(Stage):
    name = "suite"
    title = "`penstock up`: one of each, but two gateway processes"

    def __init__(self, **settings: str) -> None:
        self._suite = Suite(PENSTOCK_GATEWAY__PROCESSES="2", **settings)
        self.home = self._suite.home
        self.redis_url = f"unix://{self.home}/redis.sock"
        self.fronts = Fronts([self._suite.grpc_address], [self._suite.http_address])
        self.parts = {
            **dict.fromkeys(("inference", "registry", "monitor", "redis"), 1),
            "gateway": 2,
            "model": sum(REPLICAS.values()),
        }
        self.registry_disk = SmallDisk(self.home, mebibytes=_MEBIBYTES)
        self.cache_disk = SmallDisk(self.home / "cache", mebibytes=_MEBIBYTES)

    @property
    def registry_address(self) -> str:
        return self._suite.registry_address

    @property
    def health_addresses(self) -> Collection[str]:
        suite = self._suite
        agent = f"127.0.0.1:{suite.environ['PENSTOCK_INFERENCE__PORT']}"
        return (suite.grpc_address, suite.registry_address, suite.monitor_address, agent)

    async def missing(self, without: Collection[int] = ()) -> str:
        return await super().missing(without) or await self._missing_gateways()

    async def _missing_gateways(self) -> str:
        """Health is that of whichever process takes the connection."""
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                page = (await client.get(f"http://{self._suite.metrics_address}/metrics")).text
        except httpx.HTTPError as error:
            return f"the gateway's metrics: {error!r}"
        ready = len(_READY.findall(page))
        return "" if ready == self.parts["gateway"] else f"{ready} gateway processes are ready"

    async def open(self) -> None:
        self.registry_disk.mount()
        self.cache_disk.mount()
        await asyncio.to_thread(self._suite.start)
        path = breakable_onnx(self.home / "breakable.onnx")
        for model in REPLICAS:
            await asyncio.to_thread(self.deploy, model, path)
        await self.whole()

    def restart(self, *words: str) -> None:
        """Run ``penstock restart``; blocks."""
        self._suite.restart(*words)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        descendants = self._processes()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._suite.stop()
            for process in descendants:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        finally:
            self.cache_disk.unmount()
            self.registry_disk.unmount()
            self._suite.__exit__(None, None, None)

    async def revive(self, part: str) -> None:
        """The suite does."""

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess, AssertionError):
            return self._suite.processes()
        return []

    def pids(self, part: str) -> list[int]:
        module = _MODULES.get(part)
        return [
            process.pid
            for process in self._processes()
            if (words := words_of(process))
            and (module in words if module else words[0].partition(" ")[0].endswith("redis-server"))
        ]
