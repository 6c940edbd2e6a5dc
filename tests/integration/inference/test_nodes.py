"""Two agents with a real registry and real model processes: replicas move between them, and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from redis.asyncio import Redis

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.lanes import LaneKeys
from services.common.redis_connection import connect
from tests.support.fake_gateway import FakeGateway
from tests.support.inference_node import InferenceNode
from tests.support.models import identity_onnx, same_onnx
from tests.support.waiting import until

KEYS = LaneKeys("m", "1")
ROW = np.arange(16, dtype=np.float32)[None]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[FakeGateway]:
    redis: Redis = connect(redis_url)
    async with FakeGateway(redis, KEYS) as gateway:
        yield gateway
    await redis.aclose()


@pytest.fixture
async def pair(tmp_path: Path, redis_url: str) -> AsyncIterator[InferenceNode]:
    """Nodes "local" and "second", a replica of a model on each."""
    async with InferenceNode(tmp_path / "home", redis_url) as fleet:
        name = await fleet.create_version("m", identity_onnx(tmp_path / "m.onnx"))
        assert (await fleet.validated(name)).state == pb.ModelVersion.STATE_READY
        await fleet.deploy("m", name, replicas=2)
        await settled_on(fleet, "local", "local")
        fleet.add_agent("second")
        await settled_on(fleet, "local", "second")
        yield fleet


@contextlib.asynccontextmanager
async def asking(gateway: FakeGateway) -> AsyncIterator[None]:
    """One request after the other, each answered right."""
    is_over = False

    async def ask() -> int:
        count = 0
        while not is_over:
            np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
            count += 1
        return count

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        is_over = True
        assert await task > 10


async def settled_on(fleet: InferenceNode, *nodes: str) -> None:
    """Wait until the replicas have one place each, on these nodes, and take requests there."""
    expected = sorted(f"nodes/{node}" for node in nodes)

    async def is_so() -> bool:
        request = api.GetDeploymentRequest(name="deployments/m")
        deployment = (await fleet.registry.GetDeployment(request, wait_for_ready=True)).deployment
        ready = [one.node for one in deployment.instances if one.state == pb.InstanceStatus.STATE_READY]
        placed = sorted(one.node for one in deployment.placements)
        return placed == expected == sorted(node for node in ready if node in expected)

    await until(is_so)


async def are_alive(fleet: InferenceNode, replicas: dict[str, int]) -> bool:
    """Whether these nodes are, with so many replicas, and say what memory they have."""
    found = (await fleet.registry.ListNodes(api.ListNodesRequest())).nodes
    has_memory = all(0 < one.capacity.free_memory_bytes < one.capacity.memory_bytes for one in found)
    alive = {one.name: one.replicas for one in found if one.state == pb.Node.STATE_ALIVE}
    return has_memory and alive == replicas


async def test_what_becomes_of_nodes_is_nobodys_concern(pair: InferenceNode, gateway: FakeGateway) -> None:
    """One leaves in order and comes back; one is paused; one dies with its model processes."""
    async with asking(gateway):
        assert await asyncio.to_thread(pair.stop, "second") == 0
        await settled_on(pair, "local", "local")
        pair.start("second")
        await settled_on(pair, "local", "second")
        await until(lambda: are_alive(pair, {"nodes/local": 1, "nodes/second": 1}))

    async with asking(gateway):
        pair.signal("second", signal.SIGSTOP)
        await asyncio.sleep(5)
        pair.signal("second", signal.SIGCONT)
        await settled_on(pair, "local", "second")

        pair.kill("inference", with_children=True)
        await settled_on(pair, "second", "second")


async def test_a_node_without_the_library_of_a_step_leaves_the_version_to_others(
    tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text("import sys\nsys.modules['PIL'] = None\n")
    lacks_pillow = f"{tmp_path / 'without'}:{os.environ.get('PYTHONPATH', '')}"
    async with InferenceNode(tmp_path / "home", redis_url, PYTHONPATH=lacks_pillow) as fleet:
        steps = [pb.Step(operation="decode_image"), pb.Step(operation="layout")]
        steps[0].arguments.update({"size": [4, 4]})
        steps[1].arguments.update({"to": "NCHW"})
        path = same_onnx(tmp_path / "m", TensorProto.UINT8, ["n", 3, 4, 4])
        name = await fleet.create_version("m", path, manifest=pb.Manifest(preprocessing=steps))
        request = api.GetModelVersionRequest(name=name)

        async def handed_back() -> bool:
            version = (await fleet.registry.GetModelVersion(request)).model_version
            assert version.state != pb.ModelVersion.STATE_REJECTED, version.state_reason
            return version.state_reason == "a step needs pillow, no agent so far has it installed"

        await until(handed_back)
        fleet.add_agent("second", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
        version = await fleet.validated(name)
        assert (version.state, version.validation_report.node) == (pb.ModelVersion.STATE_READY, "nodes/second")
        assert list(version.validation_report.libraries) == ["pillow"]
        await fleet.deploy("m", name, replicas=2)
        await settled_on(fleet, "second", "second")
