"""A node as it runs: the real registry and the real agent, each a process, below a folder of their own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import psutil

from penstock.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.support.ports import free_port


class InferenceNode:
    """``home`` is the suite's folder; processes are started by name, ``registry`` and ``inference``."""

    def __init__(self, home: Path, redis_url: str, **settings: str) -> None:
        self.home = home
        self.ports = {name: free_port() for name in ("registry", "registry_metrics", "inference", "inference_metrics")}
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
            "PENSTOCK_HOME": str(home),
            "PENSTOCK_REDIS_URL": redis_url,
            "PENSTOCK_OTLP_ENDPOINT": "",
            "PENSTOCK_REGISTRY_ADDRESS": f"127.0.0.1:{self.ports['registry']}",
            "PENSTOCK_REGISTRY__PORT": str(self.ports["registry"]),
            "PENSTOCK_REGISTRY__METRICS_PORT": str(self.ports["registry_metrics"]),
            "PENSTOCK_INFERENCE__PORT": str(self.ports["inference"]),
            "PENSTOCK_INFERENCE__METRICS_PORT": str(self.ports["inference_metrics"]),
            "PENSTOCK_INFERENCE__OPTIMIZATION": "off",
            **settings,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._agents: dict[str, dict[str, str]] = {}
        self._models: set[str] = set()

    async def __aenter__(self) -> Self:
        self._channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{self.ports[name]}") for name in ("registry", "inference")
        ]
        self.registry = RegistryServiceStub(self._channels[0])
        self.inference = InferenceServiceStub(self._channels[1])
        self.start("registry")
        self.start("inference")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        children = [child for one in self.processes.values() for child in _children(one.pid)]
        for name in (*self._agents, "inference", "registry"):
            if self.processes[name].poll() is None:
                self.stop(name)
        for child in children:
            if child.is_running():
                child.kill()
        for channel in self._channels:
            await channel.close()

    def start(self, name: str) -> None:
        """Start "registry", "inference", or an agent that was added before."""
        service = name if name in ("registry", "inference") else "inference"
        environ = {**self._environ, **self._agents.get(name, {})}
        self.processes[name] = subprocess.Popen([sys.executable, "-m", f"services.{service}"], env=environ)

    def add_agent(self, node: str, **settings: str) -> None:
        """Start one more agent, with a node, ports and a folder of its own; it is known by the node's id here."""
        self._agents[node] = {
            "PENSTOCK_HOME": str(self.home.with_name(node)),
            "PENSTOCK_INFERENCE__NODE": node,
            "PENSTOCK_INFERENCE__PORT": str(free_port()),
            "PENSTOCK_INFERENCE__METRICS_PORT": str(free_port()),
            **settings,
        }
        self.start(node)

    def stop(self, name: str) -> int:
        """Ask it to end; returns its exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(20)

    def kill(self, name: str, *, with_children: bool = False) -> None:
        doomed = _children(self.processes[name].pid) if with_children else []
        self.processes[name].kill()
        for child in doomed:
            child.kill()
        self.processes[name].wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    async def create_version(self, model: str, path: Path, **fields: Any) -> str:
        """Upload a file, or a folder's, as a model's next version; returns the version's name."""
        if model not in self._models:
            await self.registry.CreateModel(api.CreateModelRequest(model_id=model), wait_for_ready=True)
            self._models.add(model)
        version = pb.ModelVersion(**fields)
        for place, content in (await asyncio.to_thread(_contents, path)).items():
            sha256 = hashlib.sha256(content).hexdigest()
            upload = api.UploadArtifactRequest(sha256=sha256, size_bytes=len(content), chunk=content)
            await self.registry.UploadArtifact(iter([upload]))
            version.files.add(sha256=sha256, path=place)
        request = api.CreateModelVersionRequest(parent=f"models/{model}", model_version=version)
        return (await self.registry.CreateModelVersion(request)).model_version.name

    async def validated(self, name: str) -> pb.ModelVersion:
        """Wait for the verdict on a version."""
        verdicts = (pb.ModelVersion.STATE_READY, pb.ModelVersion.STATE_REJECTED)
        return await self.version(name, lambda version: version.state in verdicts)

    async def version(self, name: str, is_as_wanted: Callable[[pb.ModelVersion], bool]) -> pb.ModelVersion:
        """Wait until the registry tells this of a version."""
        found: pb.ModelVersion = await self._eventually(
            lambda: self.registry.GetModelVersion(api.GetModelVersionRequest(name=name), wait_for_ready=True),
            lambda answer: answer.model_version,
            is_as_wanted,
        )
        return found

    async def optimized(self, name: str) -> pb.Optimization:
        """Wait for the end of the search that was made for a version."""
        found: pb.Optimization = await self._eventually(
            lambda: self.registry.GetModelVersion(api.GetModelVersionRequest(name=name), wait_for_ready=True),
            lambda answer: next(iter(answer.model_version.optimizations), pb.Optimization()),
            lambda found: found.state == pb.Optimization.STATE_COMPLETE,
            within_s=120,
        )
        return found

    async def deploy(self, model: str, *versions: str, **fields: Any) -> None:
        deployment = pb.Deployment(versions=versions, **fields)
        await self.registry.CreateDeployment(api.CreateDeploymentRequest(deployment_id=model, deployment=deployment))

    async def instances(
        self, model: str, is_as_wanted: Callable[[list[pb.InstanceStatus]], bool]
    ) -> list[pb.InstanceStatus]:
        """Wait until the registry tells this of a deployment's instances."""
        return await self._eventually(
            lambda: self.registry.GetDeployment(
                api.GetDeploymentRequest(name=f"deployments/{model}"), wait_for_ready=True
            ),
            lambda answer: list(answer.deployment.instances),
            is_as_wanted,
        )

    async def _eventually(
        self,
        ask: Callable[[], Any],
        pick: Callable[[Any], Any],
        is_as_wanted: Callable[[Any], bool],
        *,
        within_s: float = 50,
    ) -> Any:
        last = None
        try:
            async with asyncio.timeout(within_s):
                while True:
                    last = pick(await ask())
                    if is_as_wanted(last):
                        return last
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"at last it was {last}") from None


def all_ready(count: int) -> Callable[[list[pb.InstanceStatus]], bool]:
    return lambda instances: (
        len(instances) == count and all(one.state == pb.InstanceStatus.STATE_READY for one in instances)
    )


def _contents(path: Path) -> dict[str, bytes]:
    """By relative path."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
