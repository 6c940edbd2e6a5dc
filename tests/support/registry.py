"""A registry of one's own: in this process with a clock to turn, or as a process to kill."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
import pytest

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from services.common.settings import SuiteSettings
from services.registry.server import serve
from services.registry.settings import RegistrySettings
from tests.support.ports import free_port

NODE = "nodes/one"
NO_MONITOR = "127.0.0.1:9"
"""Where nobody listens."""
SIGNATURE = pb.Signature(
    inputs=[pb.TensorSpec(name="x", datatype="FP32", shape=[-1, 4])],
    outputs=[pb.TensorSpec(name="y", datatype="FP32", shape=[-1, 2])],
    batchable=True,
)


@dataclass(slots=True)
class Clock:
    """Stands still until it is turned."""

    now_ns: int = field(default_factory=time.time_ns)

    def __call__(self) -> int:
        return self.now_ns

    def turn(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry and its stubs."""

    stub: RegistryServiceStub
    rollouts: RolloutServiceStub
    address: str
    metrics_port: int
    clock: Clock
    home: Path

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    def stored(self) -> set[str]:
        """Digests of whole content on the disk."""
        return set(self.places())

    def places(self) -> dict[str, Path]:
        """Where whole content is on the disk, by its digest."""
        return {path.name.partition(".")[0]: path for path in self.artifacts.glob("??/*")}

    async def collect(self, *, grace_s: float | None = None, is_dry_run: bool = False) -> list[api.Garbage]:
        """Remove what no version names."""
        request = api.CollectGarbageRequest(dry_run=is_dry_run)
        if grace_s is not None:
            request.grace_duration.FromNanoseconds(int(grace_s * 1e9))
        return list((await self.stub.CollectGarbage(request)).garbage)

    def partials(self) -> set[str]:
        """Digests of unfinished uploads on the disk."""
        return {path.name for path in (self.artifacts / "uploads").iterdir()}

    def staged_bytes(self) -> int:
        """What unfinished uploads have on the disk."""
        return sum(path.stat().st_size for path in (self.artifacts / "uploads").iterdir())

    async def create_model(self, model: str) -> pb.Model:
        return (await self.stub.CreateModel(api.CreateModelRequest(model_id=model))).model

    async def upload(self, content: bytes) -> pb.Artifact:
        """A file for a version."""
        artifact = (await self.stub.UploadArtifact(iter(upload_messages(content)))).artifact
        artifact.path = "model.onnx"
        return artifact

    async def create_version(self, model: str, content: bytes = b"weights") -> pb.ModelVersion:
        version = pb.ModelVersion(files=[await self.upload(content)])
        request = api.CreateModelVersionRequest(parent=f"models/{model}", model_version=version)
        return (await self.stub.CreateModelVersion(request)).model_version

    async def report(self, version: pb.ModelVersion, *, node: str = NODE, rejection: str = "") -> pb.ModelVersion:
        request = api.ReportValidationRequest(
            name=version.name, node=node, rejection=rejection, signature=None if rejection else SIGNATURE
        )
        return (await self.stub.ReportValidation(request)).model_version

    async def create_ready_version(self, model: str, content: bytes = b"weights") -> pb.ModelVersion:
        """Nothing else may wait for validation."""
        created = await self.create_version(model, content)
        claimed = (await self.stub.ClaimValidation(api.ClaimValidationRequest(node=NODE))).model_version
        assert claimed.name == created.name
        return await self.report(claimed)

    async def deploy(self, model: str) -> pb.Deployment:
        """Create a model, one version that is READY, and its deployment."""
        await self.create_model(model)
        version = await self.create_ready_version(model)
        request = api.CreateDeploymentRequest(deployment_id=model, deployment=pb.Deployment(versions=[version.name]))
        return (await self.stub.CreateDeployment(request)).deployment


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def upload_messages(
    content: bytes, *, sha256: str = "", size: int = 0, offset: int = 0, chunk: int = 1 << 20
) -> list[api.UploadArtifactRequest]:
    """The stream that uploads ``content`` from ``offset`` on."""
    first = api.UploadArtifactRequest(
        sha256=sha256 or digest(content), size_bytes=size or len(content), offset_bytes=offset
    )
    rest = [api.UploadArtifactRequest(chunk=content[at : at + chunk]) for at in range(offset, len(content), chunk)]
    return [first, *rest]


@contextlib.asynccontextmanager
async def running_registry(
    home: Path,
    *,
    database_url: str | None = None,
    clock: Clock | None = None,
    change_log_length: int = 10_000,
    artifacts: str = "",
    monitor_address: str = NO_MONITOR,
) -> AsyncIterator[Registry]:
    """A registry in this process."""
    clock = clock or Clock()
    settings = RegistrySettings(
        port=0,
        metrics_port=free_port(),
        database_url=database_url,  # type: ignore[arg-type]
        change_log_length=change_log_length,
        artifacts=artifacts,
    )
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(
            SuiteSettings(home=home, monitor_address=monitor_address),
            settings,
            stop,
            clock=clock,
            monotonic=clock,
            poll_s=0.02,
            started=port.set_result,
        )
    )
    try:
        await asyncio.wait([serving, port], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        address = f"127.0.0.1:{port.result()}"
        async with grpc.aio.insecure_channel(address) as channel:
            stub, rollouts = RegistryServiceStub(channel), RolloutServiceStub(channel)
            yield Registry(stub, rollouts, address, settings.metrics_port, clock, home)
    finally:
        stop.set()
        await serving


class RegistryProcess:
    """``python -m services.registry``, to be stopped or killed."""

    def __init__(
        self, home: Path, *, doom: tuple[str, str] | None = None, monitor_address: str = NO_MONITOR, **settings: str
    ) -> None:
        self._monitor_address = monitor_address
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._home = home
        self.metrics_port = free_port()
        self._settings = {"PORT": str(self.port), "METRICS_PORT": str(self.metrics_port), **settings}
        self.process = self.start(doom=doom)

    def start(self, *, doom: tuple[str, str] | None = None) -> subprocess.Popen[str]:
        """``doom`` is a step, and whether it dies before or after that, see :mod:`tests.support.doomed`."""
        env: Mapping[str, str] = {
            **os.environ,
            "PENSTOCK_HOME": str(self._home),
            "PENSTOCK_MONITOR_ADDRESS": self._monitor_address,
            **{f"PENSTOCK_REGISTRY__{name}": value for name, value in self._settings.items()},
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *(("tests.support.doomed",) if doom else ()), "services.registry", *(doom or ())],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def channel(self) -> grpc.aio.Channel:
        """To the process as it is now; connections to one that was killed are shared with none."""
        return grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """Exit code, and what was written to standard error."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, stderr = self.process.communicate(timeout=20)
        return self.process.returncode, stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.kill()
        elif self.process.stderr is not None and not self.process.stderr.closed:
            sys.stdout.write(self.process.stderr.read())  # it ended by itself: let a test that fails say why
            self.process.stderr.close()


async def fails(call: Awaitable[object], code: grpc.StatusCode, *, with_text: Iterable[str] = ()) -> None:
    """The call must end with this code, and say these things."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    details = raised.value.details() or ""
    assert raised.value.code() is code, details
    for text in with_text:
        assert text in details
