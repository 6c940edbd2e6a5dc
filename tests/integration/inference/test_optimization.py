"""Versions are searched while they serve, and what was found is used: real registry, agent and model processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.inference.adapters.devices import Hardware
from services.inference.settings import InferenceSettings
from tests.support.inference_node import InferenceNode, all_ready
from tests.support.models import identity_onnx

pytestmark = pytest.mark.timeout(180)

HARDWARE = Hardware.of("auto", threads=InferenceSettings().effective_threads).key("onnx")
COMPLETE = pb.Optimization.STATE_COMPLETE


@pytest.fixture
async def node(tmp_path: Path, redis_url: str) -> AsyncIterator[InferenceNode]:
    settings = {"PENSTOCK_INFERENCE__OPTIMIZATION": "full", "PENSTOCK_INFERENCE__OPTIMIZATION_NICENESS": "0"}
    async with InferenceNode(tmp_path / "home", redis_url, **settings) as node:
        yield node


async def ready_identity(node: InferenceNode, tmp_path: Path) -> str:
    name = await node.create_version("m", identity_onnx(tmp_path / "m.onnx"))
    assert (await node.validated(name)).state == pb.ModelVersion.STATE_READY
    return name


async def record(node: InferenceNode, name: str, **variant: str) -> None:
    """What an agent of another node with the same hardware would say."""
    found = pb.Optimization(
        hardware=HARDWARE, level=pb.OPTIMIZATION_LEVEL_FULL, state=COMPLETE, variant=variant, speedup=2.0
    )
    await node.registry.ReportOptimization(
        api.ReportOptimizationRequest(name=name, node="nodes/elsewhere", optimization=found)
    )


async def entry(node: InferenceNode, name: str) -> pb.Optimization:
    version = (await node.registry.GetModelVersion(api.GetModelVersionRequest(name=name))).model_version
    return next((one for one in version.optimizations if one.hardware == HARDWARE), pb.Optimization())


async def test_a_version_is_searched_while_it_serves_once(node: InferenceNode, tmp_path: Path) -> None:
    name = await ready_identity(node, tmp_path)
    await node.deploy("m", name, optimization=pb.OPTIMIZATION_LEVEL_FAST)
    await node.instances("m", all_ready(1))

    found = await node.optimized(name)

    assert (found.hardware, found.level, found.node) == (HARDWARE, pb.OPTIMIZATION_LEVEL_FAST, "nodes/local")
    assert len(found.trials) >= 3
    assert all(trial.measurements for trial in found.trials)
    node.stop("inference")
    node.start("inference")
    await node.instances("m", lambda instances: bool(instances and instances[0].pid))
    await node.instances("m", all_ready(1))
    assert (await entry(node, name)).update_time == found.update_time


async def test_what_was_found_replaces_the_process_and_is_used_by_later_ones(
    node: InferenceNode, tmp_path: Path
) -> None:
    name = await ready_identity(node, tmp_path)
    await record(node, name)
    await node.deploy("m", name)
    (before,) = await node.instances("m", all_ready(1))
    assert dict(before.variant) == {}

    await record(node, name, memory_pattern="off")
    (after,) = await node.instances("m", lambda instances: _loaded_as(instances, memory_pattern="off"))
    assert after.pid != before.pid

    await node.registry.DeleteDeployment(api.DeleteDeploymentRequest(name="deployments/m"))
    await node.deploy("m", name)
    (later,) = await node.instances(
        "m", lambda instances: _loaded_as(instances, memory_pattern="off") and instances[0].pid != after.pid
    )
    assert later.restarts == 0
    assert (await entry(node, name)).node == "nodes/elsewhere"


async def test_what_can_not_be_loaded_that_way_serves_as_it_is(node: InferenceNode, tmp_path: Path) -> None:
    name = await ready_identity(node, tmp_path)
    await record(node, name, graph="of tomorrow")
    await node.deploy("m", name)
    (instance,) = await node.instances("m", all_ready(1))
    assert dict(instance.variant) == {}
    assert instance.restarts == 1


async def test_switched_off_nothing_that_was_found_is_used(node: InferenceNode, tmp_path: Path) -> None:
    name = await ready_identity(node, tmp_path)
    await record(node, name, memory_pattern="off")
    await node.deploy("m", name, optimization=pb.OPTIMIZATION_LEVEL_OFF)
    (instance,) = await node.instances("m", all_ready(1))
    assert dict(instance.variant) == {}


def _loaded_as(instances: list[pb.InstanceStatus], **variant: str) -> bool:
    return all_ready(1)(instances) and dict(instances[0].variant) == variant
