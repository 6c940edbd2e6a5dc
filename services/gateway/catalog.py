"""From the registry's resources to lanes and routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.registry.v1.resources_pb2 import (
    Deployment,
    InstanceStatus,
    ModelVersion,
)
from penstock.registry.v1.resources_pb2 import TensorSpec as TensorSpecMessage
from services.common import names
from services.common.datatypes import datatype
from services.common.watch import ResourceCache
from services.gateway.domain import versions
from services.gateway.domain.lane import Lane
from services.gateway.domain.residence import Residence
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from services.gateway.domain.splits import Split
from services.gateway.domain.versions import ServedVersion, TensorSpec

_PLATFORMS = {
    "onnx": ("onnxruntime_onnx", "onnxruntime"),
    "torch_export": ("pytorch_libtorch", "pytorch"),
    "torchscript": ("pytorch_libtorch", "pytorch"),
}


class Catalog:
    """The lanes of all deployed versions; a lane that is no longer deployed stays until its last request is settled."""

    def __init__(self, *, clock: Callable[[], float], gateway_processes: int = 1) -> None:
        """``clock`` is monotonic, seconds."""
        self._gateway_processes = gateway_processes
        self._clock = clock
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._served: dict[tuple[int, int], tuple[Deployment, ModelVersion, ServedVersion]] = {}

    @property
    def lanes(self) -> list[Lane]:
        """Deployed lanes, and those that still have requests."""
        return list(self._lanes.values())

    def find(self, model: str, version: str) -> Lane | None:
        return self._lanes.get((model, version))

    def rebuild(self, resources: ResourceCache) -> RoutingTable:
        """Take over what the registry says; lanes that stay keep their statistics and requests."""
        deployed: dict[str, dict[str, Lane]] = {}
        before, self._served = self._served, {}
        for deployment in resources.deployments.values():
            for name in deployment.versions:
                if (version := resources.versions.get(name)) is not None:
                    # A change replaces the resource: what is still the same object needs no reading again.
                    key = id(deployment), id(version)
                    known = before.get(key)
                    served = known[2] if known else served_version(deployment, version, self._gateway_processes)
                    self._served[key] = deployment, version, served
                    lane = deployed.setdefault(served.model, {})[served.version] = self._lane(served)
                    if known is None:
                        _note_residence(lane.residence, deployment, name)
        kept = {id(lane) for lanes in deployed.values() for lane in lanes.values()}
        for lane in self._lanes.values():
            lane.is_deployed = id(lane) in kept
        self.drop_settled()
        splits = _splits(resources, deployed)
        for lane in self._lanes.values():
            lane.arm = ""
        for split in splits.values():
            split.candidate.arm = split.arm
        aliases: dict[str, dict[str, str]] = {}
        for alias in resources.aliases.values():
            model, alias_id = names.split(alias.name, "models/*/aliases/*")
            aliases.setdefault(model, {})[alias_id] = names.split(alias.version, "models/*/versions/*")[1]
        routes = {
            model: ModelRoutes(lanes, aliases.get(model, {}), splits.get(model)) for model, lanes in deployed.items()
        }
        return RoutingTable(routes, is_complete=resources.is_complete)

    def drop_settled(self) -> None:
        """Forget lanes that are no longer deployed and have no request left."""
        for key, lane in list(self._lanes.items()):
            if not lane.is_deployed and not lane.unsettled:
                del self._lanes[key]

    def _lane(self, served: ServedVersion) -> Lane:
        lane = self._lanes.get((served.model, served.version))
        if lane is None:
            lane = self._lanes[served.model, served.version] = Lane(served, now=self._clock())
        lane.redefine(served)
        return lane


def _splits(resources: ResourceCache, deployed: Mapping[str, Mapping[str, Lane]]) -> dict[str, Split]:
    """The splits by model, of those whose versions are both deployed."""
    splits: dict[str, Split] = {}
    for deployment in resources.deployments.values():
        if not deployment.HasField("split"):
            continue
        said = deployment.split
        model, candidate = names.split(said.candidate, "models/*/versions/*")
        baseline = names.split(said.baseline, "models/*/versions/*")[1]
        lanes = deployed.get(model, {})
        if candidate in lanes and baseline in lanes:
            splits[model] = Split(
                candidate=lanes[candidate],
                baseline=lanes[baseline],
                candidate_share=said.candidate_share,
                shadow_share=said.shadow_share,
                sticky_key=said.sticky_key,
                alias=said.alias,
                comparison=said.comparison,
                pair_tolerance=said.pair_tolerance,
            )
    return splits


def _note_residence(residence: Residence, deployment: Deployment, version: str) -> None:
    places = [one for one in deployment.placements if one.version == version]
    nodes = {one.node for one in places}
    instances = [one for one in deployment.instances if one.version == version and one.node in nodes]
    has_failed = all(one.state == InstanceStatus.STATE_UNAVAILABLE for one in instances)
    residence.note(
        is_asleep=any(one.is_asleep for one in places),
        is_ready=any(one.state == InstanceStatus.STATE_READY for one in instances),
        failure=next((one.reason for one in instances), "") if has_failed else "",
    )


def served_version(deployment: Deployment, version: ModelVersion, gateway_processes: int = 1) -> ServedVersion:
    """One deployed version, with the defaults that the registry's API documents."""
    model, number = names.split(version.name, "models/*/versions/*")
    signature, queue, batching = version.signature, deployment.queue, deployment.batching
    platform, backend = _PLATFORMS.get(version.format, ("unknown", version.validation_report.backend or "unknown"))
    levels = queue.priority_levels if queue.priority_levels > 1 else 0
    max_batch_size = 0
    if signature.batchable:
        limits = (batching.max_batch_size or versions.DEFAULT_MAX_BATCH_SIZE, signature.max_batch_size)
        max_batch_size = min(limit for limit in limits if limit > 0)
    return ServedVersion(
        model=model,
        version=number,
        platform=platform,
        backend=backend,
        inputs=tuple(map(_tensor_spec, signature.inputs)),
        outputs=tuple(map(_tensor_spec, signature.outputs)),
        max_batch_size=max_batch_size,
        max_queue_delay_us=batching.max_queue_delay_microseconds,
        max_queue_size=queue.max_queue_size or versions.DEFAULT_MAX_QUEUE_SIZE,
        default_timeout_us=queue.default_timeout_microseconds or versions.DEFAULT_TIMEOUT_US,
        max_attempts=queue.max_attempts or versions.DEFAULT_MAX_ATTEMPTS,
        priority_levels=levels,
        default_priority=(queue.default_priority_level or levels) if levels else 0,
        replicas=deployment.replicas or 1,
        gateway_processes=gateway_processes,
        is_decoupled=signature.decoupled,
    )


def _tensor_spec(message: TensorSpecMessage) -> TensorSpec:
    itemsize = datatype(message.datatype).itemsize
    return TensorSpec(message.name, message.datatype, tuple(message.shape), itemsize)
