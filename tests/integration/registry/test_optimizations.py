"""What agents found of a version: recorded, told, kept."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.registry import NODE, Registry, fails

FOUND = pb.Optimization(
    hardware="some processor, 2 processors, 1 threads, torch 2.13",
    level=pb.OPTIMIZATION_LEVEL_FAST,
    state=pb.Optimization.STATE_COMPLETE,
    variant={"layout": "channels_last", "graph": "frozen"},
    speedup=1.5,
    trials=[
        pb.VariantTrial(
            variant={"graph": "frozen"},
            refusal="hardly faster",
            measurements=[
                pb.VariantMeasurement(batch_rows=16, rows_per_second=10, original_rows_per_second=9, speedup=1.1)
            ],
            speedup=1.1,
            relative_error=1e-7,
            top_agreement=1.0,
        )
    ],
    trial_count=2,
    search_duration=Duration(seconds=5),
)


async def report(registry: Registry, name: str, found: pb.Optimization = FOUND) -> pb.ModelVersion:
    request = api.ReportOptimizationRequest(name=name, node=NODE, optimization=found)
    return (await registry.stub.ReportOptimization(request)).model_version


def as_reported(found: pb.Optimization) -> pb.Optimization:
    """Without what the registry adds."""
    plain = pb.Optimization()
    plain.CopyFrom(found)
    plain.ClearField("node")
    plain.ClearField("update_time")
    return plain


async def test_what_was_found_is_read_as_it_was_reported_and_the_etag_stays(registry: Registry) -> None:
    await registry.create_model("m")
    ready = await registry.create_ready_version("m")
    await report(registry, ready.name)
    got = (await registry.stub.GetModelVersion(api.GetModelVersionRequest(name=ready.name))).model_version
    (found,) = got.optimizations
    assert as_reported(found) == FOUND
    assert (found.node, found.HasField("update_time")) == (NODE, True)
    assert got.etag == ready.etag


async def test_watchers_hear_of_it(registry: Registry) -> None:
    await registry.create_model("m")
    ready = await registry.create_ready_version("m")
    watch = registry.stub.WatchResources(api.WatchResourcesRequest(revision=0))
    async for message in watch:
        if message.is_snapshot_end:
            break
    await report(registry, ready.name)
    async for message in watch:
        if message.HasField("model_version"):
            assert as_reported(message.model_version.optimizations[0]) == FOUND
            break
    watch.cancel()


async def test_a_version_that_is_not_ready_is_refused(registry: Registry) -> None:
    await registry.create_model("m")
    pending = await registry.create_version("m")
    await fails(report(registry, pending.name), StatusCode.FAILED_PRECONDITION, with_text=["expected READY"])


async def test_nonsense_is_refused(registry: Registry) -> None:
    await registry.create_model("m")
    ready = await registry.create_ready_version("m")
    nameless = pb.Optimization(state=pb.Optimization.STATE_COMPLETE)
    await fails(report(registry, ready.name, nameless), StatusCode.INVALID_ARGUMENT, with_text=["hardware"])
    stateless = pb.Optimization(hardware="x")
    await fails(report(registry, ready.name, stateless), StatusCode.INVALID_ARGUMENT, with_text=["state 0"])


async def test_a_deployment_keeps_how_far_to_look(registry: Registry) -> None:
    await registry.create_model("m")
    ready = await registry.create_ready_version("m")
    wanted = pb.Deployment(versions=[ready.name], optimization=pb.OPTIMIZATION_LEVEL_FULL)
    await registry.stub.CreateDeployment(api.CreateDeploymentRequest(deployment_id="m", deployment=wanted))
    got = (await registry.stub.GetDeployment(api.GetDeploymentRequest(name="deployments/m"))).deployment
    assert got.optimization == pb.OPTIMIZATION_LEVEL_FULL
