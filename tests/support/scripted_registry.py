"""A registry that says what a test tells it to: the real watch rpc over real gRPC, no database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1 import registry_service_pb2_grpc as registry_grpc
from penstock.registry.v1 import resources_pb2 as resources

Tensor = tuple[str, str, tuple[int, ...]]

_KINDS = {
    resources.Model: "model",
    resources.ModelVersion: "model_version",
    resources.Alias: "alias",
    resources.Deployment: "deployment",
}


class ScriptedRegistry(registry_grpc.RegistryServiceServicer):
    """Listens on ``address``; ``put`` and ``delete`` reach every watcher."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        registry_grpc.add_RegistryServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(address)}"
        self._changes: list[registry_pb.WatchResourcesResponse] = []
        self._condition = threading.Condition()
        self.demands: list[registry_pb.ReportDemandRequest] = []
        """What gateways reported, oldest first."""
        self._is_stopping = False

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        self._server.stop(None).wait()

    def put(self, resource: Message, *, is_deleted: bool = False) -> None:
        with self._condition:
            change = registry_pb.WatchResourcesResponse(revision=len(self._changes) + 2, is_deleted=is_deleted)
            getattr(change, _KINDS[type(resource)]).CopyFrom(resource)
            self._changes.append(change)
            self._condition.notify_all()

    def delete(self, resource: Message) -> None:
        self.put(type(resource)(name=resource.name), is_deleted=True)

    def deploy(
        self,
        model: str,
        *,
        versions: tuple[str, ...] = ("1",),
        inputs: tuple[Tensor, ...] = (("INPUT0", "FP32", (-1, 16)),),
        outputs: tuple[Tensor, ...] = (("OUTPUT0", "FP32", (-1, 16)),),
        batchable: bool = True,
        **desired: Any,
    ) -> resources.Deployment:
        """A model with its versions and its deployment; ``desired`` are fields of the Deployment."""
        self.put(resources.Model(name=f"models/{model}"))
        for version in versions:
            self.put(
                resources.ModelVersion(
                    name=f"models/{model}/versions/{version}",
                    format="onnx",
                    state=resources.ModelVersion.STATE_READY,
                    signature=resources.Signature(
                        inputs=[_spec(tensor) for tensor in inputs],
                        outputs=[_spec(tensor) for tensor in outputs],
                        batchable=batchable,
                    ),
                )
            )
        names = [f"models/{model}/versions/{version}" for version in versions]
        deployment = resources.Deployment(name=f"deployments/{model}", versions=names, **desired)
        self.put(deployment)
        return deployment

    def ReportDemand(self, request: registry_pb.ReportDemandRequest, _context: Any) -> registry_pb.ReportDemandResponse:
        self.demands.append(request)
        return registry_pb.ReportDemandResponse()

    def WatchResources(self, request: Any, context: Any) -> Iterator[registry_pb.WatchResourcesResponse]:
        with self._condition:
            at = len(self._changes)
            known = self._changes[: at if request.revision == 0 else max(0, request.revision - 1)]
        if request.revision == 0:
            for change in known:
                snapshot = registry_pb.WatchResourcesResponse()
                snapshot.CopyFrom(change)
                snapshot.revision = 0
                yield snapshot
            yield registry_pb.WatchResourcesResponse(revision=at + 1, is_snapshot_end=True)
        else:
            at = len(known)
        while True:
            with self._condition:
                if len(self._changes) == at and not self._is_stopping:
                    self._condition.wait(timeout=5)
                if self._is_stopping or not context.is_active():
                    return
                fresh, at = self._changes[at:], len(self._changes)
            yield from fresh or [registry_pb.WatchResourcesResponse(revision=at + 1)]


def _spec(tensor: Tensor) -> resources.TensorSpec:
    name, datatype, shape = tensor
    return resources.TensorSpec(name=name, datatype=datatype, shape=shape)
