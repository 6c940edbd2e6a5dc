"""The API of rollouts: convert, delegate, convert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.registry.v1 import rollout_service_pb2 as api
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceServicer
from services.registry import rollouts
from services.registry.adapters import codec
from services.registry.adapters.database import Database
from services.registry.domain.rollouts import Rollout
from services.registry.nodes import Nodes


class RolloutServicer(RolloutServiceServicer):
    """``penstock.registry.v1.RolloutService``. ``on_change`` is called when there may be something to do."""

    def __init__(self, database: Database, *, nodes: Nodes, on_change: Callable[[], None]) -> None:
        self._database = database
        self._nodes = nodes
        self._on_change = on_change

    async def CreateRollout(self, request: api.CreateRolloutRequest, _context: Any) -> api.CreateRolloutResponse:
        rollout = await self._write(
            rollouts.create_rollout,
            request.parent,
            request.rollout.candidate,
            codec.wanted_plan_from_pb(request.rollout.plan),
            reason=request.rollout.reason,
            deployment_etag=request.deployment_etag,
            request_id=request.request_id,
        )
        return api.CreateRolloutResponse(rollout=codec.rollout_to_pb(rollout))

    async def GetRollout(self, request: api.GetRolloutRequest, _context: Any) -> api.GetRolloutResponse:
        rollout = await self._database.read(rollouts.get_rollout, request.name)
        return api.GetRolloutResponse(rollout=codec.rollout_to_pb(rollout))

    async def ListRollouts(self, request: api.ListRolloutsRequest, _context: Any) -> api.ListRolloutsResponse:
        found, token = await self._database.read(
            rollouts.list_rollouts,
            parent=request.parent,
            is_active=request.is_active,
            size=request.page_size,
            token=request.page_token,
        )
        listed = (codec.rollout_to_pb(one, with_events=False) for one in found)
        return api.ListRolloutsResponse(rollouts=listed, next_page_token=token)

    async def PromoteRollout(self, request: api.PromoteRolloutRequest, _context: Any) -> api.PromoteRolloutResponse:
        rollout = await self._write(
            rollouts.promote_rollout,
            request.name,
            etag=request.etag,
            is_whole=request.is_whole,
            reason=request.reason,
        )
        return api.PromoteRolloutResponse(rollout=codec.rollout_to_pb(rollout))

    async def HoldRollout(self, request: api.HoldRolloutRequest, _context: Any) -> api.HoldRolloutResponse:
        rollout = await self._write(rollouts.hold_rollout, request.name, etag=request.etag, reason=request.reason)
        return api.HoldRolloutResponse(rollout=codec.rollout_to_pb(rollout))

    async def ResumeRollout(self, request: api.ResumeRolloutRequest, _context: Any) -> api.ResumeRolloutResponse:
        rollout = await self._write(rollouts.resume_rollout, request.name, etag=request.etag, reason=request.reason)
        return api.ResumeRolloutResponse(rollout=codec.rollout_to_pb(rollout))

    async def RollBackRollout(self, request: api.RollBackRolloutRequest, _context: Any) -> api.RollBackRolloutResponse:
        rollout = await self._write(rollouts.roll_back_rollout, request.name, etag=request.etag, reason=request.reason)
        return api.RollBackRolloutResponse(rollout=codec.rollout_to_pb(rollout))

    async def _write(self, verb: Callable[..., Rollout], *args: Any, **kwargs: Any) -> Rollout:
        try:
            return await self._nodes.write(verb, *args, **kwargs)
        finally:
            self._on_change()
