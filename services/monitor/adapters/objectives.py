"""What was promised of each model, as the registry has it; the monitor works without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common.discovery.channel import FollowingChannel
from services.common.watch import ResourceCache
from services.monitor.domain.detectors import DEFAULT_LIMIT_S


@dataclass(frozen=True, slots=True)
class Objective:
    """A model's service-level objective; 0 promises nothing."""

    availability: float
    latency_s: float
    latency_share: float


class Objectives:
    """Objectives by model; safe to read from another thread."""

    def __init__(self) -> None:
        self._by_model: dict[str, Objective] = {}
        self.resources = ResourceCache(self._changed)
        """All that the registry has, as last seen."""

    def __iter__(self) -> Iterator[tuple[str, Objective]]:
        return iter(list(self._by_model.items()))

    def get(self, model: str) -> Objective | None:
        return self._by_model.get(model)

    def wait_limit_s(self, model: str) -> float:
        """How long its requests may wait for their turn: not as long as an answer may take."""
        objective = self._by_model.get(model)
        return (objective.latency_s if objective else 0.0) or DEFAULT_LIMIT_S

    def _changed(self) -> None:
        self._by_model = {
            name.removeprefix("deployments/"): Objective(slo.availability, slo.latency_seconds, slo.latency_share)
            for name, deployment in self.resources.deployments.items()
            if (slo := deployment.slo).availability or slo.latency_seconds
        }

    async def follow(self, channel: FollowingChannel) -> None:
        """Follow the registry, for ever."""
        await self.resources.follow(RegistryServiceStub(channel), on_silence=channel.leave)
