"""What the monitor asks of the registry, and has it do; calls that fail raise our own errors."""

from __future__ import annotations

import uuid
from typing import Any

import grpc

from penstock.monitor.v1.verdict_service_pb2 import Guardrail
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1 import rollout_service_pb2 as rollouts_pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import Deployment, ModelVersion
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from services.common import names
from services.common.discovery.channel import FollowingChannel
from services.common.errors import NotFoundError
from services.common.status import error_from_code
from services.monitor.domain.blocks import NS
from services.monitor.domain.recipes import Guard, Plan, Step

Rollout = rollouts_pb.Rollout
ACTOR = "monitor"
"""Who acts, as the registry's audit log has it."""

_CALL_S = 10.0
_NEWEST, _NEWEST_VERSIONS = 5, 50
_MAX_REASON = 1_024


class RegistryCalls:
    """Each method makes one call, or lists one page.

    Raises:
        PenstockError: as the status says.
    """

    def __init__(self, channel: FollowingChannel) -> None:
        self._registry = RegistryServiceStub(channel)
        self._rollouts = RolloutServiceStub(channel)

    async def deployment(self, model: str) -> Deployment:
        request = pb.GetDeploymentRequest(name=names.deployment_name(model))
        return (await self._call(self._registry.GetDeployment, request)).deployment

    async def version(self, name: str) -> ModelVersion:
        return (await self._call(self._registry.GetModelVersion, pb.GetModelVersionRequest(name=name))).model_version

    async def versions(self, model: str) -> list[ModelVersion]:
        """The last versions of a model, newest first."""
        request = pb.ListModelVersionsRequest(parent=names.model_name(model), page_size=_NEWEST_VERSIONS)
        try:
            return list((await self._call(self._registry.ListModelVersions, request)).model_versions)
        except NotFoundError:
            return []

    async def rollouts(self, model: str) -> list[Rollout]:
        """The last rollouts of a model, newest first."""
        request = rollouts_pb.ListRolloutsRequest(parent=names.deployment_name(model), page_size=_NEWEST)
        return list((await self._call(self._rollouts.ListRollouts, request)).rollouts)

    async def rollout(self, name: str) -> Rollout:
        return (await self._call(self._rollouts.GetRollout, rollouts_pb.GetRolloutRequest(name=name))).rollout

    async def hold(self, rollout: Rollout, reason: str) -> None:
        request = rollouts_pb.HoldRolloutRequest(name=rollout.name, etag=rollout.etag, reason=reason[:_MAX_REASON])
        await self._call(self._rollouts.HoldRollout, request)

    async def roll_back(self, rollout: Rollout, reason: str) -> None:
        request = rollouts_pb.RollBackRolloutRequest(name=rollout.name, etag=rollout.etag, reason=reason[:_MAX_REASON])
        await self._call(self._rollouts.RollBackRollout, request)

    async def quarantine(self, model: str, instance: str, reason: str) -> None:
        request = pb.QuarantineReplicaRequest(
            name=names.deployment_name(model), instance=instance, reason=reason[:_MAX_REASON]
        )
        await self._call(self._registry.QuarantineReplica, request)

    async def create_rollout(self, version: str, plan: Plan, *, reason: str, request_id: uuid.UUID) -> Rollout:
        """Roll a version out, given by its name. Asked again with the same id it is the same rollout."""
        model, _ = names.split(version, "models/*/versions/*")
        request = rollouts_pb.CreateRolloutRequest(
            parent=names.deployment_name(model),
            rollout=Rollout(candidate=version, plan=_plan(plan), reason=reason[:_MAX_REASON]),
            request_id=str(request_id),
        )
        return (await self._call(self._rollouts.CreateRollout, request)).rollout

    @staticmethod
    async def _call(method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=_CALL_S, metadata=[("x-penstock-actor", ACTOR)])
        except grpc.aio.AioRpcError as error:
            raise error_from_code(error.code().value[0], error.details() or str(error.code()), reason="") from error


def _plan(plan: Plan) -> rollouts_pb.RolloutPlan:
    message = rollouts_pb.RolloutPlan(
        strategy=f"STRATEGY_{plan.strategy}" if plan.strategy else 0,  # type: ignore[arg-type]
        steps=map(_step, plan.steps),
        sticky_key=plan.sticky_key,
        alias=plan.alias,
        is_manual=plan.is_manual,
        alpha=plan.alpha,
        guardrails=map(_guardrail, plan.guardrails),
    )
    if plan.load_s:
        message.load_duration.FromNanoseconds(int(plan.load_s * NS))
    if plan.keep_warm_s is not None:
        message.keep_warm_duration.FromNanoseconds(int(plan.keep_warm_s * NS))
    return message


def _guardrail(guard: Guard) -> Guardrail:
    message = Guardrail(
        signal=f"SIGNAL_{guard.signal}",
        phase=f"PHASE_{guard.phase}" if guard.phase else 0,  # type: ignore[arg-type]
        level=guard.level,
        margin=guard.margin,
    )
    if guard.margin_s:
        message.margin_duration.FromNanoseconds(int(guard.margin_s * NS))
    return message


def _step(step: Step) -> rollouts_pb.RolloutStep:
    message = rollouts_pb.RolloutStep(
        candidate_share=step.candidate_share, shadow_share=step.shadow_share, min_request_count=step.min_request_count
    )
    if step.min_duration_s:
        message.min_duration.FromNanoseconds(int(step.min_duration_s * NS))
    if step.duration_s:
        message.duration.FromNanoseconds(int(step.duration_s * NS))
    return message
