"""``penstock.inference.v1.InferenceService``: what this node is and runs."""

from __future__ import annotations

from typing import Any

import psutil

from penstock.inference.v1 import inference_service_pb2 as pb
from penstock.inference.v1.inference_service_pb2_grpc import InferenceServiceServicer
from penstock.registry.v1.resources_pb2 import InstanceStatus
from services.common.errors import InvalidArgumentError
from services.common.times import timestamp
from services.inference.adapters.artifacts import ArtifactCache
from services.inference.agent import Agent
from services.inference.instance import Instance

_DEFAULT_PAGE, _LARGEST_PAGE = 50, 1_000


class InferenceServicer(InferenceServiceServicer):
    """``node`` is all that doesn't change while the agent runs."""

    def __init__(self, agent: Agent, cache: ArtifactCache, node: pb.Node) -> None:
        self._agent = agent
        self._cache = cache
        self._node = node

    async def GetNode(self, _request: pb.GetNodeRequest, _context: Any) -> pb.GetNodeResponse:
        response = pb.GetNodeResponse(node=self._node)
        response.node.cache_bytes = self._cache.size_bytes
        return response

    async def ListInstances(self, request: pb.ListInstancesRequest, _context: Any) -> pb.ListInstancesResponse:
        if not 0 <= request.page_size <= _LARGEST_PAGE:
            raise InvalidArgumentError(f"got page_size {request.page_size}, expected 0 to {_LARGEST_PAGE}")
        size = request.page_size or _DEFAULT_PAGE
        rest = sorted(
            (one for one in self._agent.instances() if one.name > request.page_token), key=lambda one: one.name
        )
        page = [instance_message(one, self._node.name) for one in rest[:size]]
        return pb.ListInstancesResponse(
            instances=page, next_page_token=page[-1].status.instance if len(rest) > size else ""
        )


def instance_message(instance: Instance, node: str) -> pb.Instance:
    return pb.Instance(
        status=status_message(instance, node),
        execution_count=instance.totals["executions"],
        inference_count=instance.totals["rows"],
        error_count=instance.totals["errors"],
        resident_bytes=resident_bytes(instance.pid),
    )


def status_message(instance: Instance, node: str) -> InstanceStatus:
    state, reason = instance.status
    return InstanceStatus(
        instance=instance.name,
        version=instance.version,
        node=node,
        state=f"STATE_{state.name}",
        reason=reason,
        progress=instance.progress,
        device=instance.device,
        pid=instance.pid,
        restarts=instance.restarts,
        update_time=timestamp(instance.changed_ns),
        variant=dict(instance.variant.options),
    )


def resident_bytes(pid: int) -> int:
    """Memory that a process has in RAM; 0 when there is none."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0
