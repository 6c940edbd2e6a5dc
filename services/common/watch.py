"""A local copy of the registry, kept up to date by its watch stream; it serves on while the registry is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import Alias, Deployment, Model, ModelVersion, SigningKey

_log = logging.getLogger(__name__)

_RETRY_S = 0.25
_SILENCE_S = 15.0
"""The registry sends a sign of life every 5 seconds; after this long without one the stream counts as dead."""


class ResourceCache:
    """The registry's resources as last seen, by resource name.

    ``on_change`` is called, on the event loop, after each change and once after each snapshot; it must not block.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.models: dict[str, Model] = {}
        self.versions: dict[str, ModelVersion] = {}
        self.aliases: dict[str, Alias] = {}
        self.deployments: dict[str, Deployment] = {}
        self.signing_keys: dict[str, SigningKey] = {}
        self.is_complete = False
        """False until the first snapshot has arrived."""
        self._revision = 0
        self._on_change = on_change
        self._snapshot: set[str] | None = None

    async def follow(self, stub: RegistryServiceStub, *, on_silence: Callable[[], None] = lambda: None) -> None:
        """Follow the registry for ever, through its restarts. Runs until cancelled.

        ``on_silence`` is called when a stream is given up because the registry doesn't even show that it lives.
        """
        while True:
            try:
                await self._follow_once(stub)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    self._revision = 0
                _log.debug("watch ended: %s", error.details())
            except TimeoutError:
                _log.warning("the registry has been silent for %s s, connecting again", _SILENCE_S)
                on_silence()
            await asyncio.sleep(_RETRY_S)

    async def _follow_once(self, stub: RegistryServiceStub) -> None:
        call = stub.WatchResources(registry_pb.WatchResourcesRequest(revision=self._revision))
        self._snapshot = set() if self._revision == 0 else None
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    message = await call.read()
                if message is grpc.aio.EOF:
                    return
                self.apply(message)
        finally:
            call.cancel()

    def apply(self, message: registry_pb.WatchResourcesResponse) -> None:
        """Take one message of the stream into the copy."""
        kind = message.WhichOneof("resource")
        if kind is not None:
            self._put(self._table(kind), getattr(message, kind), is_deleted=message.is_deleted)
        if message.is_snapshot_end and self._snapshot is not None:
            for table in (self.models, self.versions, self.aliases, self.deployments, self.signing_keys):
                for name in table.keys() - self._snapshot:
                    del table[name]
            self._snapshot, self.is_complete = None, True
        self._revision = max(self._revision, message.revision)
        if self._snapshot is None and (kind is not None or message.is_snapshot_end):
            self._on_change()

    def _table(self, kind: str) -> dict[str, Message]:
        return {  # type: ignore[return-value]
            "model": self.models,
            "model_version": self.versions,
            "alias": self.aliases,
            "deployment": self.deployments,
            "signing_key": self.signing_keys,
        }[kind]

    def _put(self, table: dict[str, _Resource], resource: _Resource, *, is_deleted: bool) -> None:
        name: str = resource.name  # type: ignore[attr-defined]
        if is_deleted:
            table.pop(name, None)
        else:
            table[name] = resource
        if self._snapshot is not None:
            self._snapshot.add(name)


_Resource = TypeVar("_Resource", bound=Message)
