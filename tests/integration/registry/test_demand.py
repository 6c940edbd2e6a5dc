"""More models than a node has room for: who runs and who sleeps follows what gateways ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1 import rollout_service_pb2 as rollout_api
from tests.support.registry import Registry, fails
from tests.support.waiting import until

MODELS = ("u", "v", "w")
NOWHERE = "no node with enough memory left may run one more process"


def version_of(model: str) -> str:
    return f"models/{model}/versions/1"


async def report(registry: Registry, *ready: str, draining: str = "") -> None:
    """The node has room for two; ``ready`` models take requests, one may be about to end."""
    states = dict.fromkeys(ready, pb.InstanceStatus.STATE_READY)
    states |= dict.fromkeys(draining, pb.InstanceStatus.STATE_DRAINING)
    instances = [
        pb.InstanceStatus(instance=f"a.{model}.1.0", version=version_of(model), state=state)
        for model, state in states.items()
    ]
    capacity = pb.NodeCapacity(max_instances=2)
    await registry.stub.ReportNode(api.ReportNodeRequest(node="nodes/a", instances=instances, capacity=capacity))


async def ask(registry: Registry, *models: str, unsettled: int = 1) -> None:
    """A gateway has so many requests for each of some models, and none for others."""
    demands = [api.VersionDemand(version=version_of(model), unsettled_requests=unsettled) for model in models]
    await registry.stub.ReportDemand(api.ReportDemandRequest(gateway_id="g", demands=demands))


async def placed(registry: Registry) -> dict[str, str]:
    """Where each model is: on a node, asleep, or neither."""
    deployments = (await registry.stub.ListDeployments(api.ListDeploymentsRequest())).deployments
    return {one.name.removeprefix("deployments/"): _where(one.placements[0]) for one in deployments}


def _where(place: pb.Placement) -> str:
    return "asleep" if place.is_asleep else place.node or place.reason


async def places_of(registry: Registry, model: str) -> dict[str, str]:
    """Where each version of a model is."""
    request = api.GetDeploymentRequest(name=f"deployments/{model}")
    return {one.version: _where(one) for one in (await registry.stub.GetDeployment(request)).deployment.placements}


async def becomes(
    registry: Registry, expected: Mapping[str, str], *, asked: Sequence[str] = (), of: Sequence[str] = MODELS
) -> None:
    """Wait until it is so; models that are ``asked`` for are asked for again and again, as gateways do it."""

    async def is_so() -> bool:
        if asked:
            await ask(registry, *asked)
        found = await placed(registry)
        return {model: found[model] for model in of} == expected

    await until(is_so)


@pytest.fixture
async def full(registry: Registry) -> Registry:
    """``u`` and ``v`` are loaded, ``w`` is asleep."""
    await report(registry)
    for model in MODELS:
        await registry.deploy(model)
    await report(registry, "u", "v")
    await becomes(registry, {"u": "nodes/a", "v": "nodes/a", "w": "asleep"})
    registry.clock.turn(2)
    await report(registry, "u", "v")
    return registry


async def test_the_least_used_makes_room_and_the_other_follows_when_its_process_has_ended(full: Registry) -> None:
    await ask(full, "v", unsettled=0)
    full.clock.turn(2)
    await report(full, "u", "v")

    await becomes(full, {"u": "asleep", "v": "nodes/a", "w": "asleep"}, asked="w")

    await report(full, "v", draining="u")
    assert (await placed(full))["w"] == "asleep"
    await report(full, "v")
    assert await placed(full) == {"u": "asleep", "v": "nodes/a", "w": "nodes/a"}


async def test_what_is_used_is_given_up_after_its_turn(full: Registry) -> None:
    for _ in range(3):
        await ask(full, *MODELS)
        await asyncio.sleep(0.3)  # it is looked anew meanwhile
        assert (await placed(full))["w"] == "asleep"
        await report(full, "u", "v")
        full.clock.turn(1)
    await report(full, "u", "v")
    full.clock.turn(2)
    await report(full, "u", "v")
    await becomes(full, {"u": "asleep", "v": "nodes/a", "w": "asleep"}, asked=MODELS)
    await report(full, "v")
    await becomes(full, {"u": "asleep", "v": "nodes/a", "w": "nodes/a"}, asked=MODELS)


async def test_pinning_loads_a_model_and_keeps_it(full: Registry) -> None:
    for model in MODELS[1:]:
        change = pb.Deployment(name=f"deployments/{model}", pinned=True)
        request = api.UpdateDeploymentRequest(deployment=change)
        request.update_mask.paths.append("pinned")
        assert (await full.stub.UpdateDeployment(request)).deployment.pinned
    await report(full, "v")
    await becomes(full, {"u": NOWHERE, "v": "nodes/a", "w": "nodes/a"})
    await report(full, "v", "w")
    full.clock.turn(2)
    await report(full, "v", "w")
    await ask(full, "u")
    await asyncio.sleep(0.6)  # it is looked anew meanwhile
    assert await placed(full) == {"u": NOWHERE, "v": "nodes/a", "w": "nodes/a"}


async def test_a_version_on_trial_is_loaded_unasked_and_neither_it_nor_its_rival_makes_room(full: Registry) -> None:
    candidate = (await full.create_ready_version("u", b"other weights")).name
    wanted = rollout_api.Rollout(candidate=candidate)
    await full.rollouts.CreateRollout(rollout_api.CreateRolloutRequest(parent="deployments/u", rollout=wanted))

    async def is_placed() -> bool:
        places = await places_of(full, "u")
        return places == {version_of("u"): "nodes/a", candidate: "nodes/a"}

    await becomes(full, {"v": NOWHERE, "w": NOWHERE}, of=("v", "w"))
    await report(full, "u")
    await until(is_placed)
    full.clock.turn(10)
    await report(full, "u")
    await ask(full, "v", "w")
    await asyncio.sleep(0.6)  # it is looked anew meanwhile
    assert await is_placed()


async def test_reports_of_demand_that_make_no_sense_are_refused(registry: Registry) -> None:
    wrong = api.ReportDemandRequest(gateway_id="g", demands=[api.VersionDemand(version="models/u")])
    await fails(registry.stub.ReportDemand(wrong), StatusCode.INVALID_ARGUMENT, with_text=["models/u"])
    wrong = api.ReportDemandRequest()
    await fails(registry.stub.ReportDemand(wrong), StatusCode.INVALID_ARGUMENT, with_text=["gateway_id", "expected"])
