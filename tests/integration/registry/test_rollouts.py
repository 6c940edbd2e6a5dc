"""Rollouts as a registry carries them on: real database, real gRPC, a monitor that says what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.registry.v1 import rollout_service_pb2 as api
from tests.support.registry import Registry, running_registry
from tests.support.rollouts import BASELINE, CANDIDATE, FIRST, Stage, State
from tests.support.scripted_monitor import ScriptedMonitor

PROMOTE = verdict_pb.DECISION_PROMOTE


@pytest.fixture
async def monitor() -> AsyncIterator[ScriptedMonitor]:
    with ScriptedMonitor() as running:
        yield running


@pytest.fixture
async def registry(database_url: str, tmp_path: Path, monitor: ScriptedMonitor) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path, database_url=database_url, monitor_address=monitor.address) as running:
        yield running


@pytest.fixture
async def stage(registry: Registry, monitor: ScriptedMonitor) -> Stage:
    stage = Stage(registry.stub, registry.rollouts, monitor)
    await stage.set_up()
    return stage


async def test_a_canary_is_loaded_probed_proven_step_by_step_and_promoted(stage: Stage, registry: Registry) -> None:
    created = await stage.create()
    assert (created.name, created.state, created.baseline) == (FIRST, State.STATE_LOADING, BASELINE)
    assert [step.candidate_share for step in created.plan.steps] == [0.05, 0.25, 0.5]
    deployment = await stage.deployment()
    assert list(deployment.versions) == [CANDIDATE, BASELINE]
    assert (deployment.split.rollout, deployment.split.candidate_share) == (FIRST, 0)

    await stage.load()
    for step, share in enumerate((0.05, 0.25, 0.5)):
        running = await stage.until_state(State.STATE_RUNNING, step=step)
        assert running.comparison == f"comparisons/digits-1-{step}-1"
        split = (await stage.deployment()).split
        assert (split.candidate_share, split.comparison) == (share, running.comparison)
        stage.monitor.decide(f"digits-1-{step}-1", PROMOTE)
        registry.clock.turn(1)

    promoted = await stage.until_state(State.STATE_PROMOTED)
    assert promoted.state_reason == "step 3 is proven safe"
    deployment = await stage.deployment()
    assert (list(deployment.versions), deployment.HasField("split")) == ([BASELINE, CANDIDATE], False)
    registry.clock.turn(600)
    await stage.serve("1", "2")
    while (await stage.get()).HasField("retire_time"):
        pass
    assert list((await stage.deployment()).versions) == [CANDIDATE]
    found = (await registry.rollouts.ListRollouts(api.ListRolloutsRequest(parent="deployments/-"))).rollouts
    assert [(one.name, len(one.events)) for one in found] == [(FIRST, 0)]
