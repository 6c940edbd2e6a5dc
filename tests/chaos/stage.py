"""Where faults happen: running services with models deployed, and what can be asked of them from outside."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

import grpc
import psutil

from penstock.client import Client
from penstock.launcher import probes
from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import InstanceStatus
from penstock.serving import Serving
from tests.chaos.callers import Fronts

STEADY, LONE, DOOMED = "steady", "lone", "doomed"
"""Models: one with a spare process, one with a single process, one that is undeployed at times."""
REPLICAS = {STEADY: 2, LONE: 1, DOOMED: 1}
_LOOK_AGAIN_S = 0.1
_DEPLOYED_WITHIN_S = 60.0


class NotWholeError(Exception):
    """A stage did not become what it was; the message says what was missing last."""


class Stage(ABC):
    """Opened once, hurt many times, closed. ``parts`` says how many processes of each part belong to it."""

    name: ClassVar[str]
    title: ClassVar[str]
    parts: Mapping[str, int]
    fronts: Fronts
    home: Path
    redis_url: str

    @property
    @abstractmethod
    def registry_address(self) -> str:
        """Of the registries, with commas between."""

    @property
    @abstractmethod
    def health_addresses(self) -> Collection[str]:
        """Every gRPC server that must say SERVING."""

    @abstractmethod
    async def open(self) -> None:
        """Start everything, with the models deployed. The caller closes it even when this fails."""

    @abstractmethod
    async def close(self) -> None:
        """Stop everything and leave nothing behind."""

    @abstractmethod
    def pids(self, part: str) -> list[int]:
        """The processes of "gateway", "inference", "model", "registry", "monitor", "redis" and others that it has."""

    @abstractmethod
    async def revive(self, part: str) -> None:
        """Start again what was killed, where nothing else does."""

    def client(self) -> Client:
        """The Python client, as a user has it."""
        return Client(registry=self.registry_address, gateway=self.fronts.grpc[0])

    def deploy(self, model: str, path: Path) -> str:
        """Upload a version and wait until it serves; blocks. Returns the version's name."""
        version = self.add_version(model, path)
        with self.client() as client:
            serving = Serving(replicas=REPLICAS[model], optimize="off")
            client.deploy(model, version, serving=serving, timeout_s=_DEPLOYED_WITHIN_S)
        return version

    def add_version(self, model: str, path: Path) -> str:
        """Upload a version and wait until it was tried; blocks. Returns its name."""
        with self.client() as client:
            version = client.create_version(model, client.upload(path))
            return client.wait_validated(version.name, timeout_s=_DEPLOYED_WITHIN_S).name

    async def instances(self, model: str) -> list[InstanceStatus]:
        """A model's processes, as a registry knows them.

        Raises:
            grpc.aio.AioRpcError: it doesn't answer, or the model isn't deployed.
        """
        async with grpc.aio.insecure_channel(f"ipv4:{self.registry_address}") as channel:
            request = api.GetDeploymentRequest(name=f"deployments/{model}")
            answer = await RegistryServiceStub(channel).GetDeployment(request, timeout=2)
        return list(answer.deployment.instances)

    async def whole(self, *, without: Collection[int] = (), within_s: float = 60.0) -> None:
        """Wait until everything that belongs to the stage runs and is ready, and processes ``without`` are gone.

        Raises:
            NotWholeError: that takes too long.
        """
        deadline = time.monotonic() + within_s
        while missing := await self.missing(without):
            if time.monotonic() > deadline:
                raise NotWholeError(f"after {within_s:g} s: {missing}")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def missing(self, without: Collection[int] = ()) -> str:
        """What is not as it should be, in words; empty when all is well."""
        for part, count in self.parts.items():
            pids = await asyncio.to_thread(self.pids, part)
            if len(pids) != count or not set(pids).isdisjoint(without):
                return f"{len(pids)} processes of {part}, expected {count}"
        for address in self.health_addresses:
            if not await probes.serves_grpc(address):
                return f"{address} doesn't say SERVING"
        for model, count in REPLICAS.items():
            try:
                instances = await self.instances(model)
            except grpc.aio.AioRpcError as error:
                return f"the registry on {model}: {error.code().name}"
            ready = [one.pid for one in instances if one.state == InstanceStatus.STATE_READY]
            if len(ready) != count or not set(ready) <= set(self.pids("model")) or not set(ready).isdisjoint(without):
                return f"processes {ready} of {model}, expected {count} that run"
        return ""


def running(process: psutil.Process) -> bool:
    """Whether it runs, or was stopped: not a zombie, which was killed and whose parent hasn't looked yet."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; empty when it is gone."""
    try:
        return process.cmdline() if running(process) else []
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
