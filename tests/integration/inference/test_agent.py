"""The agent with the real registry, a real Redis and real model processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis

from penstock.inference.v1 import inference_service_pb2 as inference_pb
from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.lanes import LaneKeys
from tests.support.fake_gateway import FakeGateway, infer_request
from tests.support.inference_node import InferenceNode, all_ready
from tests.support.model_processes import as_long_as_told_onnx
from tests.support.models import digits_torch_export, folder_onnx, identity_onnx
from tests.support.ports import free_port
from tests.support.waiting import until

KEYS = LaneKeys("m", "1")
ROW = np.arange(16, dtype=np.float32)[None]


@pytest.fixture
async def node(tmp_path: Path, redis_url: str) -> AsyncIterator[InferenceNode]:
    async with InferenceNode(tmp_path / "home", redis_url) as node:
        yield node


async def deploy_identity(node: InferenceNode, tmp_path: Path, **fields: object) -> list[pb.InstanceStatus]:
    name = await node.create_version("m", identity_onnx(tmp_path / "m.onnx"))
    assert (await node.validated(name)).state == pb.ModelVersion.STATE_READY
    await node.deploy("m", name, **fields)
    return await node.instances("m", all_ready(int(str(fields.get("replicas", 1)))))


async def test_versions_are_validated_by_what_they_are(node: InferenceNode, tmp_path: Path) -> None:
    exported, text = digits_torch_export(tmp_path / "m.pt2"), tmp_path / "text"
    text.write_text("no model at all, but quite a text")
    names = [
        await node.create_version("m", identity_onnx(tmp_path / "m.onnx")),
        await node.create_version("m", exported),
        await node.create_version("m", text),
        await node.create_version("m", exported, trusted=True),
    ]
    good, untrusted, corrupt, trusted = [await node.validated(name) for name in names]

    assert (good.state, good.format) == (pb.ModelVersion.STATE_READY, "onnx")
    assert (good.signature.inputs[0].name, list(good.signature.inputs[0].shape)) == ("INPUT0", [-1, 16])
    assert good.signature.batchable
    assert good.validation_report.node == "nodes/local"
    assert good.validation_report.backend == "onnxruntime"
    assert good.validation_report.infer_duration.nanos > 0
    assert "can run code while loading" in untrusted.state_reason
    assert "corrupt, or of an unknown format" in corrupt.state_reason
    assert (trusted.state, trusted.signature.max_batch_size) == (pb.ModelVersion.STATE_READY, 1024)


async def test_a_model_of_several_files_is_served(node: InferenceNode, gateway: FakeGateway, tmp_path: Path) -> None:
    folder = folder_onnx(tmp_path / "model", bias=100)
    version = await node.validated(await node.create_version("m", folder))
    assert (version.state, version.state_reason) == (pb.ModelVersion.STATE_READY, "")
    assert [one.path for one in version.files] == ["graph.onnx", "weights/bias.bin"]
    await node.deploy("m", version.name)
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW + 100)


async def test_a_validation_that_takes_too_long_or_too_much_is_a_rejection(tmp_path: Path, redis_url: str) -> None:
    limits = {
        "PENSTOCK_INFERENCE__VALIDATION_TIMEOUT_S": "0.05",
        "PENSTOCK_INFERENCE__VALIDATION_MEMORY_SHARE": "0.9",
    }
    async with InferenceNode(tmp_path / "slow", redis_url, **limits) as node:
        version = await node.validated(await node.create_version("m", identity_onnx(tmp_path / "m.onnx")))
        assert "took longer than 0 s" in version.state_reason
    limits = {"PENSTOCK_INFERENCE__VALIDATION_MEMORY_SHARE": "0.000001"}
    async with InferenceNode(tmp_path / "fat", redis_url, **limits) as node:
        version = await node.validated(await node.create_version("m", identity_onnx(tmp_path / "m.onnx")))
        assert "MiB of memory" in version.state_reason


async def test_a_deployment_is_served_reported_and_undeployed(
    node: InferenceNode, gateway: FakeGateway, redis: Redis, tmp_path: Path
) -> None:
    instances = await deploy_identity(node, tmp_path, replicas=2)
    assert [one.instance for one in instances] == ["local.m.1.0", "local.m.1.1"]
    assert {(one.node, one.version, one.device) for one in instances} == {("nodes/local", "models/m/versions/1", "cpu")}
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
    assert await redis.zcard(KEYS.leases) == 2

    page = await node.inference.ListInstances(inference_pb.ListInstancesRequest(page_size=1))
    rest = await node.inference.ListInstances(inference_pb.ListInstancesRequest(page_token=page.next_page_token))
    assert [one.status.instance for one in (*page.instances, *rest.instances)] == ["local.m.1.0", "local.m.1.1"]
    assert page.instances[0].resident_bytes > 2**20
    with pytest.raises(grpc.aio.AioRpcError, match="got page_size -1"):
        await node.inference.ListInstances(inference_pb.ListInstancesRequest(page_size=-1))
    about = (await node.inference.GetNode(inference_pb.GetNodeRequest())).node
    assert (about.name, list(about.devices), about.cache_bytes > 100) == ("nodes/local", ["cpu"], True)
    assert "onnx" in about.formats

    async def rows_told() -> bool:
        url = f"http://127.0.0.1:{node.ports['inference_metrics']}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
        rows = [float(line.split()[-1]) for line in text.splitlines() if line.startswith("penstock_instance_rows_t")]
        return sum(rows) == 1

    await until(rows_told)

    await node.registry.DeleteDeployment(api.DeleteDeploymentRequest(name="deployments/m"))
    await until(lambda: not any(psutil.pid_exists(one.pid) for one in instances))
    assert await redis.zcard(KEYS.leases) == 0


async def test_a_changed_configuration_replaces_the_process_without_a_gap(
    node: InferenceNode, gateway: FakeGateway, tmp_path: Path
) -> None:
    before = (await deploy_identity(node, tmp_path))[0].pid
    answers, is_over = 0, False

    async def keep_asking() -> None:
        nonlocal answers
        while not is_over:
            np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
            answers += 1

    asking = asyncio.create_task(keep_asking())
    changed = pb.Deployment(
        name="deployments/m", versions=["models/m/versions/1"], batching=pb.BatchingConfig(max_batch_size=2)
    )
    await node.registry.UpdateDeployment(api.UpdateDeploymentRequest(deployment=changed))
    await node.instances("m", lambda found: all_ready(1)(found) and found[0].pid != before)
    await until(lambda: not psutil.pid_exists(before))
    is_over = True
    await asking
    assert answers > 10
    assert {reply.attempt for replies in gateway.replies.values() for reply in replies} == {1}, "nothing was claimed"


async def test_requests_in_lanes_that_a_changed_configuration_abandons_are_answered(
    node: InferenceNode, gateway: FakeGateway, tmp_path: Path
) -> None:
    batching = pb.BatchingConfig(max_batch_size=1)
    name = await node.create_version("m", as_long_as_told_onnx(tmp_path / "m.onnx"))
    await node.validated(name)
    await node.deploy("m", name, batching=batching)
    start = time.monotonic()
    await node.instances("m", all_ready(1))
    loading_s = time.monotonic() - start
    start = time.monotonic()
    await gateway.ask(np.full((1, 16), 200_000, np.float32))
    quarter = np.full((1, 16), 200_000 * 0.25 / (time.monotonic() - start), np.float32)
    keys = [await gateway.send(infer_request(quarter)) for _ in range(8 + int(8 * loading_s))]
    changed = pb.Deployment(
        name="deployments/m",
        versions=[name],
        batching=batching,
        queue=pb.QueueConfig(priority_levels=2),
    )
    await node.registry.UpdateDeployment(api.UpdateDeploymentRequest(deployment=changed))
    for key in keys:
        assert (await gateway.reply_to(key)).code == 0


async def test_a_killed_process_is_started_again_and_its_requests_answered(
    node: InferenceNode, gateway: FakeGateway, tmp_path: Path
) -> None:
    before = (await deploy_identity(node, tmp_path))[0].pid
    os.kill(before, signal.SIGKILL)
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
    after = await node.instances("m", lambda found: all_ready(1)(found) and found[0].pid != before)
    assert after[0].restarts == 1


async def test_a_crash_loop_is_unavailable_with_the_reason_and_ends_when_the_cause_does(
    node: InferenceNode, tmp_path: Path
) -> None:
    await deploy_identity(node, tmp_path)

    def kill_or_see(found: list[pb.InstanceStatus]) -> bool:
        if found[0].pid and found[0].state != pb.InstanceStatus.STATE_UNAVAILABLE:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[0].pid, signal.SIGKILL)
        return found[0].state == pb.InstanceStatus.STATE_UNAVAILABLE

    found = await node.instances("m", kill_or_see)
    assert "died of SIGKILL" in found[0].reason
    assert found[0].restarts >= 3
    await node.instances("m", all_ready(1))


async def test_a_model_that_is_damaged_in_the_cache_is_fetched_again_and_serves(
    node: InferenceNode, gateway: FakeGateway, tmp_path: Path
) -> None:
    pid = (await deploy_identity(node, tmp_path))[0].pid
    cached = next((node.home / "cache").glob("??/*"))
    good = cached.read_bytes()
    cached.write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
    os.kill(pid, signal.SIGKILL)
    found = await node.instances("m", lambda found: all_ready(1)(found) and found[0].pid != pid)
    assert found[0].restarts == 1
    assert cached.read_bytes() == good
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGHUP, 0)])
async def test_an_agent_that_dies_or_hands_over_interrupts_nothing(
    node: InferenceNode, gateway: FakeGateway, redis: Redis, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    orphan = (await deploy_identity(node, tmp_path))[0].pid
    node.processes["inference"].send_signal(number)
    assert node.processes["inference"].wait(20) == status
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
    node.start("inference")
    await node.instances("m", lambda found: all_ready(1)(found) and found[0].pid != orphan)
    await until(lambda: not psutil.pid_exists(orphan))
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
    assert await redis.zcard(KEYS.leases) == 1


async def test_serving_goes_on_without_the_registry(node: InferenceNode, gateway: FakeGateway, tmp_path: Path) -> None:
    pid = (await deploy_identity(node, tmp_path))[0].pid
    node.kill("registry")
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
    node.start("registry")
    await node.instances("m", lambda found: all_ready(1)(found) and found[0].pid != pid)


async def test_health_follows_the_registrys_first_word_and_the_agent_stops_in_order(
    tmp_path: Path, redis_url: str
) -> None:
    async with InferenceNode(tmp_path / "home", redis_url) as node:
        node.stop("registry")
        health = health_pb2_grpc.HealthStub(node._channels[1])

        async def is_serving() -> bool:
            answer = await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            return answer.status == health_pb2.HealthCheckResponse.SERVING

        assert not await is_serving()
        node.start("registry")
        await until(is_serving)
        assert node.stop("inference") == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PENSTOCK_INFERENCE__PROT": "1"}, "unknown settings PENSTOCK_INFERENCE__PROT"),
        ({"PENSTOCK_INFERENCE__PORT": "many"}, "valid integer"),
        ({"PENSTOCK_INFERENCE__NODE": "a b"}, "got id 'a b'"),
    ],
)
def test_an_unfit_setting_ends_the_agent_with_a_line(settings: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in refused(settings, tmp_path)


async def test_a_taken_port_ends_the_agent_with_a_line(node: InferenceNode, tmp_path: Path) -> None:
    await node.inference.GetNode(inference_pb.GetNodeRequest(), wait_for_ready=True)
    port = str(node.ports["inference"])
    line = await asyncio.to_thread(refused, {"PENSTOCK_INFERENCE__PORT": port}, tmp_path)
    assert f"can't listen on 127.0.0.1:{port}" in line


def refused(settings: dict[str, str], tmp_path: Path) -> str:
    environ = {
        **os.environ,
        "PENSTOCK_HOME": str(tmp_path),
        "PENSTOCK_INFERENCE__PORT": "0",
        "PENSTOCK_INFERENCE__METRICS_PORT": str(free_port()),
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-m", "services.inference"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
