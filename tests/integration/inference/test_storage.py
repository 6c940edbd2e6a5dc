"""Content on its way from where it is kept to model processes: a real registry, a real agent, a real S3 server."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.inference_node import InferenceNode, all_ready
from tests.support.models import identity_onnx
from tests.support.object_stores import S3


async def test_a_model_is_served_from_a_bucket(tmp_path: Path, redis_url: str) -> None:
    with S3() as bucket:
        settings = {"PENSTOCK_REGISTRY__ARTIFACTS": bucket.location, **bucket.environ}
        async with InferenceNode(tmp_path / "home", redis_url, **settings) as node:
            name = await node.create_version("m", identity_onnx(tmp_path / "m.onnx"))
            assert (await node.validated(name)).state == pb.ModelVersion.STATE_READY
            await node.deploy("m", name)

            await node.instances("m", all_ready(1))

            assert len(bucket.objects()) == 1
            assert list((tmp_path / "home" / "artifacts").glob("??/*")) == []


async def test_a_model_without_room_says_so_and_is_served_when_there_is_some(tmp_path: Path, redis_url: str) -> None:
    small, large = (identity_onnx(tmp_path / f"{width}.onnx", width=width) for width in (16, 17))
    limit = small.stat().st_size + large.stat().st_size - 1
    async with InferenceNode(tmp_path / "home", redis_url, PENSTOCK_INFERENCE__CACHE_BYTES=str(limit)) as node:
        for model, path in (("small", small), ("large", large)):
            name = await node.create_version(model, path)
            assert (await node.validated(name)).state == pb.ModelVersion.STATE_READY
        await node.deploy("small", "models/small/versions/1")
        await node.instances("small", all_ready(1))

        await node.deploy("large", "models/large/versions/1")
        (waiting,) = await node.instances(
            "large", lambda found: bool(found) and found[0].state == pb.InstanceStatus.STATE_UNAVAILABLE
        )

        assert "no room for" in waiting.reason
        figures = figures_of(node)
        assert f"penstock_cache_limit_bytes {limit}.0\n" in figures
        assert f"penstock_cache_bytes {small.stat().st_size}.0\n" in figures
        await node.registry.DeleteDeployment(api.DeleteDeploymentRequest(name="deployments/small"))
        await node.instances("large", all_ready(1))
        # Twice while they were tried and the first one was deployed, and for this.
        assert "penstock_cache_evictions_total 3.0" in figures_of(node)


async def test_a_model_without_room_on_one_node_is_tried_and_served_by_another(tmp_path: Path, redis_url: str) -> None:
    async with InferenceNode(tmp_path / "home", redis_url, PENSTOCK_INFERENCE__CACHE_BYTES="100") as node:
        name = await node.create_version("m", identity_onnx(tmp_path / "m.onnx"))
        waiting = await node.version(name, lambda found: bool(found.state_reason))
        assert waiting.state == pb.ModelVersion.STATE_PENDING
        assert "expected at most 100, which is all that this node's cache may take" in waiting.state_reason

        node.add_agent("roomy", PENSTOCK_INFERENCE__CACHE_BYTES="0")

        version = await node.validated(name)
        assert (version.state, version.validation_report.node) == (pb.ModelVersion.STATE_READY, "nodes/roomy")
        await node.deploy("m", name)
        (one,) = await node.instances("m", all_ready(1))
        assert one.node == "nodes/roomy"


async def test_a_model_moves_from_a_node_without_room_to_one_that_has_some(tmp_path: Path, redis_url: str) -> None:
    small, large = (identity_onnx(tmp_path / f"{width}.onnx", width=width) for width in (16, 17))
    limit = small.stat().st_size + large.stat().st_size - 1
    async with InferenceNode(tmp_path / "home", redis_url, PENSTOCK_INFERENCE__CACHE_BYTES=str(limit)) as node:
        for model, path in (("small", small), ("large", large)):
            assert (await node.validated(await node.create_version(model, path))).state == pb.ModelVersion.STATE_READY
        await node.deploy("small", "models/small/versions/1")
        await node.instances("small", all_ready(1))
        await node.deploy("large", "models/large/versions/1")
        await node.instances("large", lambda found: bool(found) and "no room for" in found[0].reason)

        node.add_agent("roomy", PENSTOCK_INFERENCE__CACHE_BYTES="0")

        (one,) = await node.instances("large", all_ready(1))
        assert one.node == "nodes/roomy"


def figures_of(node: InferenceNode) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{node.ports['inference_metrics']}/metrics") as answer:
        return str(answer.read().decode())
