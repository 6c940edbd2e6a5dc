"""Replicas whose process is taken out and replaced."""

from __future__ import annotations

import json

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.integration.registry.test_placements import deploy, places, report
from tests.support.registry import Registry, fails


async def quarantine(
    registry: Registry, instance: str, *, is_last_allowed: bool = False, reason: str = "it answers wrongly"
) -> pb.Deployment:
    request = api.QuarantineReplicaRequest(
        name="deployments/digits", instance=instance, is_last_allowed=is_last_allowed, reason=reason
    )
    return (await registry.stub.QuarantineReplica(request, metadata=[("x-penstock-actor", "monitor")])).deployment


async def replica_on(registry: Registry, node: str) -> int:
    """The number of the replica that is placed there."""
    deployment = (await registry.stub.GetDeployment(api.GetDeploymentRequest(name="deployments/digits"))).deployment
    return next(one.replica for one in deployment.placements if one.node == node)


async def test_a_replica_is_taken_out_where_it_is_and_the_log_says_by_whom(registry: Registry) -> None:
    await report(registry, "a")
    before = await deploy(registry, replicas=2)
    await report(registry, "a", serving=[0, 1])

    deployment = await quarantine(registry, "a.digits.1.1")

    (told,) = deployment.quarantines
    assert (told.replica, told.node, told.sequence, told.is_last) == (1, "nodes/a", 1, False)
    assert (told.actor, told.reason) == ("monitor", "it answers wrongly")
    assert (deployment.etag, await places(registry)) == (before.etag, ["a", "a"])
    entries = (await registry.stub.ListAuditEntries(api.ListAuditEntriesRequest(model="models/digits"))).audit_entries
    assert (entries[-1].action, entries[-1].actor) == ("replica.quarantine", "monitor")
    assert json.loads(entries[-1].details)["instance"] == "a.digits.1.1"


async def test_the_last_one_that_takes_requests_stays_unless_that_is_asked_for(registry: Registry) -> None:
    await report(registry, "a")
    await deploy(registry, replicas=2)
    await report(registry, "a", serving=[0, 1])
    await quarantine(registry, "a.digits.1.0")

    # The other one's report is of its old process.
    await fails(quarantine(registry, "a.digits.1.1"), StatusCode.FAILED_PRECONDITION, with_text=["no other replica"])

    deployment = await quarantine(registry, "a.digits.1.1", is_last_allowed=True)
    assert [(one.replica, one.is_last) for one in deployment.quarantines] == [(0, False), (1, True)]


async def test_a_replica_that_is_taken_out_again_goes_to_another_node(registry: Registry) -> None:
    await report(registry, "a")
    await deploy(registry, replicas=2)
    await report(registry, "a", serving=[0, 1])
    await report(registry, "b")
    moved = await replica_on(registry, "nodes/b")
    await report(registry, "b", serving=[moved])
    await report(registry, "a", serving=[1 - moved])
    assert sorted(await places(registry)) == ["a", "b"]

    await quarantine(registry, f"a.digits.1.{1 - moved}")
    assert sorted(await places(registry)) == ["a", "b"]
    deployment = await quarantine(registry, f"a.digits.1.{1 - moved}")

    assert [one.sequence for one in deployment.quarantines] == [2]
    assert [one.node for one in deployment.placements] == ["nodes/b", "nodes/b"]


@pytest.mark.parametrize("instance", ["a.digits.1.7", "a.other.1.0", ""])
async def test_who_isnt_there_isnt_found(registry: Registry, instance: str) -> None:
    await report(registry, "a")
    await deploy(registry)
    await report(registry, "a", serving=[0])

    asked = quarantine(registry, instance, is_last_allowed=True)
    await fails(asked, StatusCode.NOT_FOUND, with_text=["expected one of a.digits.1.0"])


async def test_a_reason_is_needed(registry: Registry) -> None:
    await fails(quarantine(registry, "a.digits.1.0", reason=" "), StatusCode.INVALID_ARGUMENT)
