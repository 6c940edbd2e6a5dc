"""Where replicas run, as nodes come, report, leave and fall silent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.support.registry import Clock, Registry, RegistryProcess, fails, running_registry
from tests.support.waiting import until

VERSION = "models/digits/versions/1"
ALIVE, LEAVING, SILENT = pb.Node.STATE_ALIVE, pb.Node.STATE_LEAVING, pb.Node.STATE_SILENT


async def report(registry: Registry, node: str, *, serving: Sequence[int] = (), **fields: object) -> int:
    """``serving`` are the replicas of digits that take requests there. Returns how many have to move."""
    instances = [
        pb.InstanceStatus(instance=f"{node}.digits.1.{number}", version=VERSION, state=pb.InstanceStatus.STATE_READY)
        for number in serving
    ]
    request = api.ReportNodeRequest(node=f"nodes/{node}", instances=instances, **fields)  # type: ignore[arg-type]
    return (await registry.stub.ReportNode(request)).moving_replicas


async def places(registry: Registry) -> list[str]:
    """The node of each replica of digits, in order; in brackets those that are given up when the next one serves."""
    request = api.GetDeploymentRequest(name="deployments/digits")
    deployment = (await registry.stub.GetDeployment(request)).deployment
    return [_place(one) for one in deployment.placements]


def _place(one: pb.Placement) -> str:
    node = one.node.removeprefix("nodes/")
    return f"({node})" if one.is_leaving else node


async def deploy(registry: Registry, *, replicas: int = 1) -> pb.Deployment:
    await registry.create_model("digits")
    version = await registry.create_ready_version("digits")
    assert version.name == VERSION
    wanted = pb.Deployment(versions=[VERSION], replicas=replicas)
    request = api.CreateDeploymentRequest(deployment_id="digits", deployment=wanted)
    return (await registry.stub.CreateDeployment(request)).deployment


async def test_a_deployment_is_placed_as_it_is_written(registry: Registry) -> None:
    await report(registry, "a")
    await report(registry, "b")

    deployment = await deploy(registry, replicas=3)

    assert [_place(one) for one in deployment.placements] == ["a", "b", "a"]
    changed = pb.Deployment(name=deployment.name, replicas=1, etag=deployment.etag)
    request = api.UpdateDeploymentRequest(deployment=changed)
    request.update_mask.paths.append("replicas")
    assert [_place(one) for one in (await registry.stub.UpdateDeployment(request)).deployment.placements] == ["a"]


async def test_what_was_deployed_before_any_node_came_is_placed_when_one_does(registry: Registry) -> None:
    deployment = await deploy(registry)
    assert [(one.node, one.reason) for one in deployment.placements] == [("", "no node takes replicas")]
    watch = registry.stub.WatchResources(api.WatchResourcesRequest(revision=int(deployment.etag, 16)))

    await report(registry, "a")

    seen = (await watch.read()).deployment
    assert ([_place(one) for one in seen.placements], seen.etag) == (["a"], deployment.etag)
    watch.cancel()


async def test_a_node_that_joins_takes_over_and_one_that_leaves_hands_over_first(registry: Registry) -> None:
    await report(registry, "a")
    await deploy(registry, replicas=2)
    await report(registry, "a", serving=[0, 1])

    await report(registry, "b")
    assert sorted(await places(registry)) == ["(a)", "a", "b"]
    moved = (await places(registry)).index("(a)")
    await report(registry, "b", serving=[moved])
    assert sorted(await places(registry)) == ["a", "b"]

    stays = 1 - moved
    await report(registry, "a", serving=[stays])
    assert await report(registry, "a", serving=[stays], is_leaving=True) == 1
    assert sorted(await places(registry)) == ["(a)", "b", "b"]
    assert await report(registry, "a", serving=[stays], is_leaving=True) == 1
    await report(registry, "b", serving=[0, 1])
    assert await report(registry, "a", serving=[stays], is_leaving=True) == 0
    assert await places(registry) == ["b", "b"]
    assert await report(registry, "b", serving=[0, 1], is_leaving=True) == 0, "there is nobody to hand over to"


async def test_the_replicas_of_a_silent_node_are_placed_elsewhere(registry: Registry) -> None:
    await report(registry, "a")
    await report(registry, "b")
    await deploy(registry, replicas=2)
    await report(registry, "a", serving=[0])
    await report(registry, "b", serving=[1])
    registry.clock.turn(2)
    await report(registry, "b", serving=[1])
    assert await places(registry) == ["a", "b"]

    registry.clock.turn(2)
    await report(registry, "b", serving=[1])
    await until(lambda: _are(registry, "(a)", "b", "b"))
    assert [(one.name, one.state, one.replicas) for one in await nodes(registry)] == [
        ("nodes/a", SILENT, 1),
        ("nodes/b", ALIVE, 2),
    ]
    await report(registry, "b", serving=[0, 1])
    assert await places(registry) == ["b", "b"]

    await report(registry, "a")
    assert sorted(await places(registry)) == ["(b)", "a", "b"]


async def test_a_node_that_was_only_paused_goes_on(registry: Registry) -> None:
    await report(registry, "a")
    await report(registry, "b")
    await deploy(registry, replicas=2)
    await report(registry, "a", serving=[0])
    await report(registry, "b", serving=[1])
    registry.clock.turn(4)
    await report(registry, "b", serving=[1])
    await until(lambda: _are(registry, "(a)", "b", "b"))

    await report(registry, "a", serving=[0])

    assert await places(registry) == ["a", "b"]


async def test_a_node_whose_agent_is_replaced_keeps_its_replicas_for_longer(registry: Registry) -> None:
    await report(registry, "a")
    await report(registry, "b")
    await deploy(registry, replicas=2)
    await report(registry, "b", serving=[1])
    await report(registry, "a", serving=[0], has_successor=True)
    for _ in range(11):
        registry.clock.turn(2)
        await report(registry, "b", serving=[1])
    assert await places(registry) == ["a", "b"]
    assert [one.state for one in await nodes(registry)] == [ALIVE, ALIVE]

    registry.clock.turn(2)
    await report(registry, "b", serving=[1])

    await until(lambda: _are(registry, "(a)", "b", "b"))


async def test_with_nobody_else_a_silent_node_keeps_its_replicas(registry: Registry) -> None:
    await report(registry, "a")
    await deploy(registry)
    registry.clock.turn(20)
    await until(lambda: _has_no_nodes(registry))
    assert await places(registry) == ["a"]


async def test_a_restarted_registry_waits_for_the_nodes_that_it_knew(registry: Registry, database_url: str) -> None:
    await report(registry, "a")
    await report(registry, "b")
    await deploy(registry, replicas=2)
    async with running_registry(registry.home, database_url=database_url) as second:
        await report(second, "a", serving=[0])
        assert await places(second) == ["a", "b"]
        second.clock.turn(2)
        await report(second, "b", serving=[1])
        assert await places(second) == ["a", "b"]


async def test_a_registry_that_was_stopped_takes_nobody_for_silent(tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process:
        async with process.channel() as channel:
            stub = RegistryServiceStub(channel)
            rollouts = RolloutServiceStub(channel)
            registry = Registry(stub, rollouts, process.address, process.metrics_port, Clock(), tmp_path)
            await stub.ListModels(api.ListModelsRequest(), wait_for_ready=True)
            await report(registry, "a")
            await report(registry, "b")
            await deploy(registry, replicas=2)
            before = await revision(registry)

            process.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(3.5)
            process.process.send_signal(signal.SIGCONT)

            await report(registry, "a")
            await asyncio.sleep(0.5)  # in which it looks twice
            await report(registry, "b")
            assert (await places(registry), await revision(registry)) == (["a", "b"], before)


async def revision(registry: Registry) -> int:
    async for message in registry.stub.WatchResources(api.WatchResourcesRequest()):
        if message.is_snapshot_end:
            return int(message.revision)
    raise AssertionError("the stream ended")


async def test_what_fits_nowhere_says_so_and_is_placed_when_there_is_room(registry: Registry) -> None:
    scarce = pb.NodeCapacity(memory_bytes=1 << 40, free_memory_bytes=3, processors=1)
    await report(registry, "a", capacity=scarce)
    deployment = await deploy(registry)
    assert "needs 0.0 MiB of memory" in deployment.placements[0].reason

    scarce.free_memory_bytes = 1 << 30
    await report(registry, "a", capacity=scarce)
    registry.clock.turn(2)

    await until(lambda: _are(registry, "a"))
    scarce.resident_memory[VERSION] = 2 << 30
    await report(registry, "a", serving=[0], capacity=scarce)
    changed = pb.Deployment(name=deployment.name, versions=[VERSION], replicas=2)
    answer = await registry.stub.UpdateDeployment(api.UpdateDeploymentRequest(deployment=changed))
    assert "needs 2,048.0 MiB of memory" in answer.deployment.placements[1].reason


async def nodes(registry: Registry, **fields: object) -> list[pb.Node]:
    answer = await registry.stub.ListNodes(api.ListNodesRequest(**fields))  # type: ignore[arg-type]
    return list(answer.nodes)


async def _are(registry: Registry, *expected: str) -> bool:
    return await places(registry) == list(expected)


async def _has_no_nodes(registry: Registry) -> bool:
    return not await nodes(registry)


async def test_nodes_are_listed_as_they_report_themselves(registry: Registry) -> None:
    capacity = pb.NodeCapacity(memory_bytes=5, free_memory_bytes=4, processors=3, max_instances=2)
    capacity.devices.add(device="cuda:0", memory_bytes=7, free_memory_bytes=6)
    capacity.resident_memory[VERSION] = 1
    await report(registry, "b", is_leaving=True)
    await report(registry, "a", address="a:1", capacity=capacity)

    first, second = await nodes(registry)

    assert (first.name, first.address, first.state, first.capacity) == ("nodes/a", "a:1", ALIVE, capacity)
    assert first.report_time.ToNanoseconds() == registry.clock.now_ns
    assert (second.name, second.state) == ("nodes/b", LEAVING)
    page = await registry.stub.ListNodes(api.ListNodesRequest(page_size=1))
    rest = await registry.stub.ListNodes(api.ListNodesRequest(page_token=page.next_page_token))
    assert ([one.name for one in page.nodes], [one.name for one in rest.nodes]) == (["nodes/a"], ["nodes/b"])


async def test_two_agents_can_not_have_one_node(registry: Registry) -> None:
    await report(registry, "a", address="a:1")
    other = report(registry, "a", address="b:1")
    await fails(other, StatusCode.FAILED_PRECONDITION, with_text=["a:1", "b:1", "PENSTOCK_INFERENCE__NODE"])

    registry.clock.turn(3)  # the first is gone
    await report(registry, "a", address="b:1")


@pytest.mark.parametrize("wrong", [pb.NodeCapacity(memory_bytes=-1), pb.NodeCapacity(max_instances=-1)], ids=str)
async def test_a_capacity_that_can_not_be_is_refused(registry: Registry, wrong: pb.NodeCapacity) -> None:
    await fails(report(registry, "a", capacity=wrong), StatusCode.INVALID_ARGUMENT, with_text=["got", "expected"])
    assert await nodes(registry) == []
