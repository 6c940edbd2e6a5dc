"""Deployments: the desired state, and what nodes report of it."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.postgresql import Postgresql
from tests.support.registry import NODE, Registry, fails, running_registry

READY = pb.InstanceStatus.State.STATE_READY
LOADING = pb.InstanceStatus.State.STATE_LOADING


async def get(registry: Registry, name: str = "deployments/digits") -> pb.Deployment:
    return (await registry.stub.GetDeployment(api.GetDeploymentRequest(name=name))).deployment


async def report(registry: Registry, *instances: pb.InstanceStatus, node: str = NODE) -> None:
    await registry.stub.ReportNode(api.ReportNodeRequest(node=node, instances=instances))


def instance(slot: int = 0, *, state: pb.InstanceStatus.State = READY, model: str = "digits") -> pb.InstanceStatus:
    status = pb.InstanceStatus(
        instance=f"one.{model}.1.{slot}",
        version=f"models/{model}/versions/1",
        node=NODE,
        state=state,
        progress=0.1 + 0.2,
        device="cpu",
        pid=4711,
        restarts=1,
    )
    status.update_time.FromNanoseconds(1_700_000_000_123_456_789)
    return status


async def revision(registry: Registry) -> int:
    async for message in registry.stub.WatchResources(api.WatchResourcesRequest()):
        if message.is_snapshot_end:
            return int(message.revision)
    raise AssertionError("the stream ended")


async def test_a_deployment_is_read_as_it_was_created(registry: Registry) -> None:
    await registry.create_model("digits")
    versions = [(await registry.create_ready_version("digits", b"%d" % n)).name for n in range(2)]
    wanted = pb.Deployment(
        versions=reversed(versions),
        batching=pb.BatchingConfig(max_batch_size=8, max_queue_delay_microseconds=500),
        queue=pb.QueueConfig(max_queue_size=7, default_timeout_microseconds=6, max_attempts=5, priority_levels=4),
    )

    created = (
        await registry.stub.CreateDeployment(api.CreateDeploymentRequest(deployment_id="digits", deployment=wanted))
    ).deployment

    assert created.name == "deployments/digits"
    assert (created.versions, created.replicas) == (versions[::-1], 1)
    assert (created.batching, created.queue) == (wanted.batching, wanted.queue)
    assert await get(registry) == created
    assert (await registry.stub.ListDeployments(api.ListDeploymentsRequest())).deployments == [created]


async def test_a_repeated_creation_answers_as_the_first_did(registry: Registry) -> None:
    await registry.create_model("digits")
    version = (await registry.create_ready_version("digits")).name
    request = api.CreateDeploymentRequest(
        deployment_id="digits",
        deployment=pb.Deployment(versions=[version], queue=pb.QueueConfig(max_attempts=2)),
        request_id=str(uuid.uuid4()),
    )
    first = await registry.stub.CreateDeployment(request)

    assert await registry.stub.CreateDeployment(request) == first
    request.request_id = ""
    await fails(registry.stub.CreateDeployment(request), StatusCode.ALREADY_EXISTS)


async def test_bad_deployments_are_refused(registry: Registry) -> None:
    await registry.create_model("digits")
    version = (await registry.create_ready_version("digits")).name
    await registry.create_model("letters")
    pending = (await registry.create_version("digits", b"other")).name

    async def expect(code: StatusCode, text: str, model: str = "digits", **fields: object) -> None:
        deployment = pb.Deployment(**{"versions": [version], **fields})  # type: ignore[arg-type]
        request = api.CreateDeploymentRequest(deployment_id=model, deployment=deployment)
        await fails(registry.stub.CreateDeployment(request), code, with_text=[text])

    bad = StatusCode.INVALID_ARGUMENT
    await expect(bad, "0 versions", versions=[])
    await expect(bad, "each once", versions=[version, version])
    await expect(bad, "models/digits", versions=["models/letters/versions/1"])
    await expect(bad, "resource name", versions=["1"])
    await expect(bad, "replicas", replicas=65)
    await expect(bad, "replicas", replicas=-1)
    await expect(bad, "max_batch_size", batching=pb.BatchingConfig(max_batch_size=-1))
    await expect(bad, "max_attempts", queue=pb.QueueConfig(max_attempts=-1))
    await expect(bad, "priority_levels", queue=pb.QueueConfig(priority_levels=10_000))
    await expect(bad, "default_priority_level", queue=pb.QueueConfig(priority_levels=2, default_priority_level=3))
    await expect(StatusCode.FAILED_PRECONDITION, "PENDING", versions=[version, pending])
    await expect(StatusCode.FAILED_PRECONDITION, "does not exist", versions=["models/digits/versions/9"])
    await expect(StatusCode.NOT_FOUND, "models/none", "none", versions=["models/none/versions/1"])


async def test_an_update_takes_over_what_the_mask_names(registry: Registry) -> None:
    first = await registry.deploy("digits")
    registry.clock.turn(1)
    wanted = pb.Deployment(name=first.name, replicas=2, etag=first.etag)
    request = api.UpdateDeploymentRequest(deployment=wanted)
    request.update_mask.paths.append("replicas")

    second = (await registry.stub.UpdateDeployment(request)).deployment

    assert (second.replicas, second.versions) == (2, first.versions)
    assert second.update_time.ToNanoseconds() == registry.clock.now_ns
    await fails(registry.stub.UpdateDeployment(request), StatusCode.ABORTED)
    wanted.etag = ""
    call = registry.stub.UpdateDeployment(api.UpdateDeploymentRequest(deployment=wanted))
    await fails(call, StatusCode.INVALID_ARGUMENT, with_text=["0 versions"])


async def test_a_promise_is_kept_with_its_defaults_and_taken_back(registry: Registry) -> None:
    first = await registry.deploy("digits")
    assert not first.HasField("slo")
    wanted = pb.Deployment(name=first.name, slo=pb.Slo(availability=0.999, latency_seconds=0.2))
    request = api.UpdateDeploymentRequest(deployment=wanted)
    request.update_mask.paths.append("slo")

    second = (await registry.stub.UpdateDeployment(request)).deployment

    assert second.slo == pb.Slo(availability=0.999, latency_seconds=0.2, latency_share=0.99, window_days=30)
    assert second.etag != first.etag
    assert (await get(registry)).slo == second.slo
    request.deployment.slo.availability = 99.9
    await fails(
        registry.stub.UpdateDeployment(request), StatusCode.INVALID_ARGUMENT, with_text=["slo.availability 99.9"]
    )
    request.deployment.slo.Clear()
    assert not (await registry.stub.UpdateDeployment(request)).deployment.HasField("slo")


async def test_a_deleted_deployment_is_gone(registry: Registry) -> None:
    deployment = await registry.deploy("digits")

    request = api.DeleteDeploymentRequest(name=deployment.name, etag="0")
    await fails(registry.stub.DeleteDeployment(request), StatusCode.ABORTED)
    request.etag = deployment.etag
    await registry.stub.DeleteDeployment(request)

    await fails(get(registry), StatusCode.NOT_FOUND)
    await registry.stub.DeleteModel(api.DeleteModelRequest(name="models/digits"))


async def test_a_deployment_has_the_instances_that_nodes_report(registry: Registry) -> None:
    before = await registry.deploy("digits")
    other = pb.InstanceStatus(instance="two.digits.1.0", version="models/digits/versions/1", state=LOADING)

    await report(registry, instance(1), instance(0), instance(model="undeployed"))
    await report(registry, other, node="nodes/two")

    other.node = "nodes/two"
    after = await get(registry)
    assert after.instances == [instance(0), instance(1), other]
    assert (after.etag, after.update_time) == (before.etag, before.update_time)

    await report(registry, instance(1, state=LOADING))

    assert (await get(registry)).instances == [instance(1, state=LOADING), other]


async def test_a_heartbeat_that_changes_nothing_leaves_no_trace(registry: Registry) -> None:
    await registry.deploy("digits")
    await report(registry, instance())
    before = await revision(registry)

    for _ in range(20):
        registry.clock.turn(5)
        await report(registry, instance())

    assert await revision(registry) == before
    assert (await get(registry)).instances == [instance()]


async def test_a_silent_node_loses_its_instances(registry: Registry) -> None:
    await registry.deploy("digits")
    await report(registry, instance())
    watch = registry.stub.WatchResources(api.WatchResourcesRequest(revision=await revision(registry)))
    registry.clock.turn(14)
    await asyncio.sleep(0.1)
    assert (await get(registry)).instances == [instance()]

    registry.clock.turn(1)

    message = await watch.read()
    assert (message.deployment.name, list(message.deployment.instances)) == ("deployments/digits", [])
    assert not (await get(registry)).instances
    await report(registry, instance())
    assert list((await watch.read()).deployment.instances) == [instance()]
    watch.cancel()


@pytest.mark.postgresql
async def test_a_database_that_goes_away_is_told_and_comes_back(postgresql: Postgresql, tmp_path: Path) -> None:
    with postgresql.database() as url:
        async with running_registry(tmp_path, database_url=url) as registry:
            await registry.create_model("digits")
            async with grpc.aio.insecure_channel(registry.address) as channel:
                answers = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
                while (await answers.read()).status != health_pb2.HealthCheckResponse.SERVING:
                    pass

                with postgresql.closed(url):
                    assert (await answers.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
                    read = registry.stub.GetModel(api.GetModelRequest(name="models/digits"))
                    await fails(read, StatusCode.UNAVAILABLE, with_text=["database"])
                    await fails(registry.create_model("letters"), StatusCode.UNAVAILABLE)

                assert (await answers.read()).status == health_pb2.HealthCheckResponse.SERVING
                await registry.create_model("letters")
                answers.cancel()


@pytest.mark.parametrize(
    "bad",
    [
        pb.InstanceStatus(version="models/digits/versions/1", state=READY),
        pb.InstanceStatus(instance="a", version="models/digits", state=READY),
        pb.InstanceStatus(instance="a", version="models/digits/versions/1"),
        pb.InstanceStatus(instance="a", version="models/digits/versions/1", state=77),  # type: ignore[arg-type]
        pb.InstanceStatus(instance="a", version="models/digits/versions/1", state=READY, progress=1.5),
        pb.InstanceStatus(instance="a", version="models/digits/versions/1", state=READY, progress=float("nan")),
        pb.InstanceStatus(instance="a", version="models/digits/versions/1", state=READY, node="nodes/two"),
        instance(),
    ],
    ids=["no name", "no version", "no state", "state", "progress", "nan", "node", "twice"],
)
async def test_a_bad_report_is_refused_as_a_whole(registry: Registry, bad: pb.InstanceStatus) -> None:
    await registry.deploy("digits")

    await fails(report(registry, instance(), bad), StatusCode.INVALID_ARGUMENT, with_text=["got", "expected"])

    assert not (await get(registry)).instances


async def test_a_deployment_says_that_labels_come_later(registry: Registry) -> None:
    first = await registry.deploy("digits")
    assert not first.HasField("feedback")
    wanted = pb.Deployment(name=first.name, feedback=pb.FeedbackConfig(is_expected=True))
    request = api.UpdateDeploymentRequest(deployment=wanted)
    request.update_mask.paths.append("feedback")

    second = (await registry.stub.UpdateDeployment(request)).deployment

    assert second.feedback.is_expected
    assert second.feedback.retention_duration.ToTimedelta().days == 7
    assert (await get(registry)).feedback == second.feedback
    request.deployment.feedback.retention_duration.FromSeconds(59)
    await fails(
        registry.stub.UpdateDeployment(request), StatusCode.INVALID_ARGUMENT, with_text=["59 s", "1 minute to 90 days"]
    )
    request.deployment.feedback.Clear()
    assert not (await registry.stub.UpdateDeployment(request)).deployment.HasField("feedback")
