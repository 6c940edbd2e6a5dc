"""What the gateway says about models, in the words of the Open Inference Protocol and Triton's extensions.

Every description is a plain JSON-like dictionary with the proto's field names: REST sends it as it is, gRPC as the
message of the same fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from penstock.registry.v1.resources_pb2 import Deployment, InstanceStatus
from services.common import names
from services.common.datatypes import DATATYPES
from services.common.watch import ResourceCache
from services.gateway.domain.lane import Lane
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from services.gateway.domain.statistics import Duration, VersionStatistics
from services.gateway.domain.versions import ServedVersion, TensorSpec

EXTENSIONS = ["model_configuration", "statistics", "binary_tensor_data", "parameters", "schedule_policy"]

Description = dict[str, Any]


def server(version: str) -> Description:
    return {"name": "penstock", "version": version, "extensions": EXTENSIONS}


def metadata(lane: Lane, *, versions: Iterable[str]) -> Description:
    """ModelMetadataResponse; shapes include the batch dimension."""
    served = lane.version
    return {
        "name": served.model,
        "versions": list(versions),
        "platform": served.platform,
        "inputs": [_tensor(spec) for spec in served.inputs],
        "outputs": [_tensor(spec) for spec in served.outputs],
    }


def _tensor(spec: TensorSpec) -> Description:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def config(served: ServedVersion) -> Description:
    """ModelConfig; dimensions leave the batch dimension out where ``max_batch_size`` is above 0."""
    description: Description = {
        "name": served.model,
        "platform": served.platform,
        "backend": served.backend,
        "version_policy": {"specific": {"versions": [int(served.version)]}},
        "max_batch_size": served.max_batch_size,
        "input": [_configured(spec, served) for spec in served.inputs],
        "output": [_configured(spec, served) for spec in served.outputs],
        "instance_group": [{"name": served.model, "kind": "KIND_AUTO", "count": served.replicas}],
        "model_transaction_policy": {"decoupled": served.is_decoupled},
    }
    if served.max_batch_size:
        description["dynamic_batching"] = {
            "max_queue_delay_microseconds": served.max_queue_delay_us,
            "priority_levels": served.priority_levels,
            "default_priority_level": served.default_priority,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": served.default_timeout_us,
                "allow_timeout_override": True,
                "max_queue_size": served.max_queue_size,
            },
        }
    return description


def _configured(spec: TensorSpec, served: ServedVersion) -> Description:
    dims = spec.shape[1:] if served.max_batch_size else spec.shape
    return {"name": spec.name, "data_type": DATATYPES[spec.datatype].config_name, "dims": list(dims)}


def statistics(lanes: Iterable[Lane]) -> Description:
    """ModelStatisticsResponse; times are nanoseconds."""
    return {"model_stats": [_model_statistics(lane.version, lane.statistics) for lane in lanes]}


def _model_statistics(served: ServedVersion, figures: VersionStatistics) -> Description:
    return {
        "name": served.model,
        "version": served.version,
        "last_inference": figures.last_inference_ms,
        "inference_count": figures.inference_count,
        "execution_count": figures.execution_count,
        "inference_stats": {
            "success": _duration(figures.success),
            "fail": _duration(figures.failed),
            "queue": _duration(figures.queue),
            "compute_input": _duration(figures.compute_input),
            "compute_infer": _duration(figures.compute_infer),
            "compute_output": _duration(figures.compute_output),
            "cache_hit": _duration(Duration()),
            "cache_miss": _duration(Duration()),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(size.compute_input),
                "compute_infer": _duration(size.compute_infer),
                "compute_output": _duration(size.compute_output),
            }
            for rows, size in sorted(figures.by_batch_size.items())
        ],
    }


def joined(own: Description, others: Iterable[Description]) -> Description:
    """The statistics of several processes as one; versions that ``own`` doesn't name are left out."""
    stats = {(one["name"], one["version"]): one for one in own["model_stats"]}
    for other in others:
        for one in other["model_stats"]:
            if (key := (one["name"], one["version"])) in stats:
                stats[key] = _sum(stats[key], one)
    return {"model_stats": list(stats.values())}


def _sum(one: Description, other: Description) -> Description:
    return {key: _SUMS.get(key, _sum_values)(value, other[key]) for key, value in one.items()}


def _sum_values(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return _sum(one, other)
    return one if isinstance(one, str) else one + other


def _sum_batches(one: list[Description], other: list[Description]) -> list[Description]:
    sizes = {batch["batch_size"]: batch for batch in one}
    for batch in other:
        size = batch["batch_size"]
        sizes[size] = _sum(sizes[size], batch) if size in sizes else batch
    return [batch for _, batch in sorted(sizes.items())]


_SUMS: Mapping[str, Callable[[Any, Any], Any]] = {
    "last_inference": max,
    "batch_size": max,
    "batch_stats": _sum_batches,
}


def _duration(duration: Duration) -> Description:
    return {"count": duration.count, "ns": duration.ns}


_STATES: Mapping[int, str] = {
    InstanceStatus.STATE_FETCHING: "LOADING",
    InstanceStatus.STATE_LOADING: "LOADING",
    InstanceStatus.STATE_DRAINING: "UNLOADING",
}


def index(resources: ResourceCache, routes: RoutingTable, *, ready: bool) -> list[Description]:
    """RepositoryIndexResponse.models: each deployed version, and each model that is not deployed."""
    entries: list[Description] = []
    for name in sorted(resources.models):
        (model,) = names.split(name, "models/*")
        deployed = routes.models.get(model)
        if deployed is None:
            entries.append({"name": model, "version": "", "state": "UNAVAILABLE", "reason": "not deployed"})
        else:
            entries += _deployed(model, deployed, resources.deployments.get(names.deployment_name(model), Deployment()))
    return [entry for entry in entries if entry["state"] == "READY" or not ready]


def _deployed(model: str, routes: ModelRoutes, deployment: Deployment) -> Iterable[Description]:
    for version, lane in routes.lanes.items():
        state, reason = "READY", ""
        if not lane.is_live and lane.takes_requests:
            reason = "asleep: the next request loads it"
        elif not lane.is_live:
            state, reason = "UNAVAILABLE", "no live process"
            for instance in deployment.instances:
                if instance.version == names.version_name(model, version):
                    state, reason = _STATES.get(instance.state, state), instance.reason or reason
        yield {"name": model, "version": version, "state": state, "reason": "" if state == "LOADING" else reason}
