"""A registry that answers what the monitor asks and does as told, and notes who asked: real gRPC, no database."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1 import resources_pb2 as resources
from penstock.registry.v1 import rollout_service_pb2 as pb
from penstock.registry.v1 import rollout_service_pb2_grpc
from tests.support.scripted_registry import ScriptedRegistry

Rollout = pb.Rollout


class ScriptedRollouts(ScriptedRegistry, rollout_service_pb2_grpc.RolloutServiceServicer):
    """``rollouts`` are newest first; ``calls`` holds each change that was asked for, with its actor and its reason.

    While ``refusal`` is set, changes end with it.
    """

    def __init__(self, *rollouts: Rollout, address: str = "127.0.0.1:0") -> None:
        super().__init__(address)
        rollout_service_pb2_grpc.add_RolloutServiceServicer_to_server(self, self._server)
        self.rollouts = list(rollouts)
        self.versions: list[resources.ModelVersion] = []
        self.deployment = resources.Deployment(name="deployments/digits", versions=["models/digits/versions/2"])
        self.calls: list[tuple[str, str, str]] = []
        self.refusal: grpc.StatusCode | None = None
        self._lock = threading.Lock()

    def _note(self, verb: str, reason: str, context: Any) -> None:
        with self._lock:
            if self.refusal is not None:
                context.abort(self.refusal, "no other replica takes requests")
            actor = dict(context.invocation_metadata()).get("x-penstock-actor", "")
            self.calls.append((verb, actor, reason))

    def _of(self, name: str, context: Any) -> Rollout:
        for rollout in self.rollouts:
            if rollout.name == name:
                return rollout
        context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {name}")
        raise AssertionError

    def ListRollouts(self, _request: pb.ListRolloutsRequest, _context: Any) -> pb.ListRolloutsResponse:
        return pb.ListRolloutsResponse(rollouts=self.rollouts)

    def GetRollout(self, request: pb.GetRolloutRequest, context: Any) -> pb.GetRolloutResponse:
        return pb.GetRolloutResponse(rollout=self._of(request.name, context))

    def HoldRollout(self, request: pb.HoldRolloutRequest, context: Any) -> pb.HoldRolloutResponse:
        self._note("hold", request.reason, context)
        rollout = self._of(request.name, context)
        rollout.state = Rollout.STATE_HELD
        return pb.HoldRolloutResponse(rollout=rollout)

    def RollBackRollout(self, request: pb.RollBackRolloutRequest, context: Any) -> pb.RollBackRolloutResponse:
        self._note("roll_back", request.reason, context)
        rollout = self._of(request.name, context)
        rollout.state = Rollout.STATE_ROLLED_BACK
        return pb.RollBackRolloutResponse(rollout=rollout)

    def CreateRollout(self, request: pb.CreateRolloutRequest, context: Any) -> pb.CreateRolloutResponse:
        self._note("create", request.rollout.reason, context)
        rollout = Rollout(name=f"{request.parent}/rollouts/9", state=Rollout.STATE_RUNNING)
        rollout.MergeFrom(request.rollout)
        self.rollouts.insert(0, rollout)
        return pb.CreateRolloutResponse(rollout=rollout)

    def QuarantineReplica(
        self, request: registry_pb.QuarantineReplicaRequest, context: Any
    ) -> registry_pb.QuarantineReplicaResponse:
        self._note(f"quarantine {request.instance}", request.reason, context)
        return registry_pb.QuarantineReplicaResponse(deployment=self.deployment)

    def GetDeployment(
        self, _request: registry_pb.GetDeploymentRequest, _context: Any
    ) -> registry_pb.GetDeploymentResponse:
        return registry_pb.GetDeploymentResponse(deployment=self.deployment)

    def GetModelVersion(
        self, request: registry_pb.GetModelVersionRequest, context: Any
    ) -> registry_pb.GetModelVersionResponse:
        for version in self.versions:
            if version.name == request.name:
                return registry_pb.GetModelVersionResponse(model_version=version)
        context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.name}")
        raise AssertionError

    def ListModelVersions(
        self, _request: registry_pb.ListModelVersionsRequest, _context: Any
    ) -> registry_pb.ListModelVersionsResponse:
        return registry_pb.ListModelVersionsResponse(model_versions=self.versions)


def rollout(state: Rollout.State, *, candidate: str = "2", warm_until_s: int = 0) -> Rollout:
    """One of digits; ``warm_until_s`` is when its baseline retires, Unix seconds."""
    found = Rollout(
        name="deployments/digits/rollouts/1",
        candidate=f"models/digits/versions/{candidate}",
        baseline="models/digits/versions/1",
        state=state,
        etag="e",
    )
    if warm_until_s:
        found.retire_time.FromSeconds(warm_until_s)
    return found
