"""What the agent asks of the registry and tells it; calls that fail raise our own errors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import grpc

from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import InstanceStatus, NodeCapacity, Optimization
from services.common.errors import PenstockError
from services.common.status import error_from_code

_CALL_S = 10.0


class RegistryClient:
    """One node's conversation with the registry."""

    def __init__(self, stub: RegistryServiceStub, node: str) -> None:
        """``node`` is the node's id."""
        self._stub = stub
        self._node = f"nodes/{node}"

    async def claim_validation(
        self, formats: Sequence[str], libraries: Sequence[str], *, excluded: Collection[str] = ()
    ) -> pb.ClaimValidationResponse | None:
        """A version to validate with its keys, ours again while we hold one; None when there is nothing to do."""
        request = pb.ClaimValidationRequest(
            node=self._node, formats=formats, libraries=libraries, excluded_versions=excluded
        )
        response = await self._call(self._stub.ClaimValidation, request)
        return response if response.HasField("model_version") else None

    async def report_validation(self, request: pb.ReportValidationRequest) -> None:
        request.node = request.validation_report.node = self._node
        await self._call(self._stub.ReportValidation, request)

    async def report_optimization(self, version: str, found: Optimization) -> None:
        request = pb.ReportOptimizationRequest(name=version, node=self._node, optimization=found)
        await self._call(self._stub.ReportOptimization, request)

    async def report_node(
        self,
        instances: Sequence[InstanceStatus],
        capacity: NodeCapacity,
        *,
        address: str,
        is_leaving: bool = False,
        has_successor: bool = False,
    ) -> int:
        """Tell the node's whole state. Returns how many of its replicas wait for their successors elsewhere."""
        request = pb.ReportNodeRequest(
            node=self._node,
            instances=instances,
            capacity=capacity,
            address=address,
            is_leaving=is_leaving,
            has_successor=has_successor,
        )
        return int((await self._call(self._stub.ReportNode, request)).moving_replicas)

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from error


def _error_of(error: grpc.aio.AioRpcError) -> PenstockError:
    return error_from_code(error.code().value[0], error.details() or str(error.code()), reason="")
