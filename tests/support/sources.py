"""Sources of a running registry, and an agent's part in what they bring."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import source_service_pb2 as pb
from penstock.registry.v1.resources_pb2 import ModelVersion, Signature
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from penstock.registry.v1.source_service_pb2_grpc import SourceServiceStub
from tests.support.registry import NODE, SIGNATURE, Registry

SETTLE = Duration(nanos=100_000_000)


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of ``registry``."""

    stub: SourceServiceStub
    rollouts: RolloutServiceStub
    registry: Registry

    async def add(self, name: str = "one", *, model: str = "digits", **wanted: Any) -> pb.Source:
        wanted.setdefault("settle_duration", SETTLE)
        source = pb.Source(model=f"models/{model}", **wanted)
        request = pb.CreateSourceRequest(source_id=name, source=source)
        return (await self.stub.CreateSource(request)).source

    async def watch(self, folder: Path, name: str = "one", **wanted: Any) -> pb.Source:
        return await self.add(name, folder=pb.FolderLocation(path=str(folder)), **wanted)

    async def get(self, name: str = "one") -> pb.Source:
        return (await self.stub.GetSource(pb.GetSourceRequest(name=f"sources/{name}"))).source

    async def check(self, name: str = "one", *, is_forced: bool = False) -> pb.Source:
        request = pb.CheckSourceRequest(name=f"sources/{name}", is_forced=is_forced)
        return (await self.stub.CheckSource(request)).source

    async def until(
        self, is_so: Callable[[pb.Source], Any], name: str = "one", *, timeout_s: float = 15.0
    ) -> pb.Source:
        """The source once it is so."""
        end = time.monotonic() + timeout_s
        while not is_so(source := await self.get(name)):
            assert time.monotonic() < end, source
            await asyncio.sleep(0.05)
        return source

    async def versions(self, model: str = "digits") -> list[ModelVersion]:
        """A model's versions, newest first."""
        request = api.ListModelVersionsRequest(parent=f"models/{model}")
        return list((await self.registry.stub.ListModelVersions(request)).model_versions)

    async def judge(self, *, rejection: str = "", signature: Signature = SIGNATURE) -> ModelVersion:
        """Validate the version that waits for it, as an agent would."""
        claimed = (await self.registry.stub.ClaimValidation(api.ClaimValidationRequest(node=NODE))).model_version
        assert claimed.name
        request = api.ReportValidationRequest(
            name=claimed.name, node=NODE, rejection=rejection, signature=None if rejection else signature
        )
        return (await self.registry.stub.ReportValidation(request)).model_version


@contextlib.asynccontextmanager
async def sources_of(registry: Registry) -> AsyncIterator[Sources]:
    async with grpc.aio.insecure_channel(registry.address) as channel:
        yield Sources(SourceServiceStub(channel), RolloutServiceStub(channel), registry)


def texts(source: pb.Source) -> list[str]:
    """What happened to it."""
    return [one.text for one in source.events]
