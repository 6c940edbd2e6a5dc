"""The monitor acts on incidents: a real monitor, its database, and a registry over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from penstock.monitor.v1 import action_service_pb2 as pb
from penstock.monitor.v1.action_service_pb2_grpc import ActionServiceStub
from services.monitor.adapters import database
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Cause, Signal
from tests.integration.monitor.test_alertmanager import metric
from tests.support.monitor_process import RunningMonitor, monitor
from tests.support.scripted_rollouts import Rollout, ScriptedRollouts, rollout
from tests.unit.monitor.test_alerts import INCIDENT

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

REPLICA = "node.digits.2.1@abc.def"
FAILING = replace(INCIDENT, version="2", signal=Signal.ERROR_RATE, phase=None, cause=Cause.VERSION)
LIMPING = replace(FAILING, signal=Signal.PROBE, cause=Cause.REPLICA, replica=REPLICA)


def left_open(home: Path, incident: Incident, *, age_s: float = 1.0) -> None:
    """An incident that is open when the next monitor begins."""
    now_ns = time.time_ns()
    engine = database.engine_of(f"sqlite:///{home / 'monitor.db'}")
    opened_ns = now_ns - int(age_s * NS)
    IncidentStore(engine).save(replace(incident, change_ns=opened_ns, open_ns=opened_ns))
    engine.dispose()


def actions_of(running: RunningMonitor) -> ActionServiceStub:
    return ActionServiceStub(running.api_channel)


async def list_actions(running: RunningMonitor) -> list[pb.Action]:
    return list((await actions_of(running).ListActions(pb.ListActionsRequest())).actions)


async def ended(running: RunningMonitor) -> list[pb.Action]:
    return [one for one in await list_actions(running) if one.outcome != pb.Action.OUTCOME_PENDING]


def warm() -> int:
    return int(time.time()) + 600


async def test_a_promoted_version_that_breaks_is_rolled_back_once(tmp_path: Path, eventually: Eventually) -> None:
    left_open(tmp_path, FAILING)
    with ScriptedRollouts(rollout(Rollout.STATE_PROMOTED, warm_until_s=warm())) as registry:
        async with monitor(tmp_path, registry_address=registry.address) as running:
            (action,) = await eventually(lambda: ended(running))
            await asyncio.sleep(2.5)

            assert len(registry.calls) == 1
            verb, actor, reason = registry.calls[0]
            assert (verb, actor) == ("roll_back", "monitor")
            assert FAILING.incident_id in reason
            assert (action.kind, action.outcome) == (pb.Action.KIND_ROLL_BACK, pb.Action.OUTCOME_DONE)
            assert (action.policy, action.target) == ("roll-back-promoted", "deployments/digits/rollouts/1")
            assert action.detail == "models/digits/versions/1 takes all requests again"
            request = pb.ListActionsRequest(incident=f"incidents/{FAILING.incident_id}", model="digits")
            assert list((await actions_of(running).ListActions(request)).actions) == [action]
            got = await actions_of(running).GetAction(pb.GetActionRequest(name=action.name))
            assert got.action == action
            assert await metric(running, "penstock_monitor_actions_total", action="roll_back", outcome="done") == 1


@pytest.mark.parametrize(
    "found",
    [
        rollout(Rollout.STATE_PROMOTED, warm_until_s=1),
        rollout(Rollout.STATE_PROMOTED, candidate="3", warm_until_s=2**33),
        rollout(Rollout.STATE_ROLLED_BACK),
    ],
    ids=["retired", "another version", "over"],
)
async def test_what_cant_be_taken_back_is_left_alone(tmp_path: Path, found: Rollout) -> None:
    left_open(tmp_path, FAILING)
    with ScriptedRollouts(found) as registry:
        async with monitor(tmp_path, registry_address=registry.address) as running:
            await asyncio.sleep(2.5)

            assert (registry.calls, await list_actions(running)) == ([], [])


async def test_a_candidates_rollout_is_held(tmp_path: Path, eventually: Eventually) -> None:
    left_open(tmp_path, FAILING)
    with ScriptedRollouts(rollout(Rollout.STATE_RUNNING)) as registry:
        async with monitor(tmp_path, registry_address=registry.address) as running:
            (action,) = await eventually(lambda: ended(running))

            assert action.kind == pb.Action.KIND_HOLD
            assert [call[:2] for call in registry.calls] == [("hold", "monitor")]


async def test_a_replica_is_taken_out_and_what_the_registry_refuses_is_said(
    tmp_path: Path, eventually: Eventually
) -> None:
    left_open(tmp_path, LIMPING)
    with ScriptedRollouts() as registry:
        registry.refusal = grpc.StatusCode.FAILED_PRECONDITION
        async with monitor(tmp_path, registry_address=registry.address) as running:
            (action,) = await eventually(lambda: ended(running))
            assert (action.outcome, action.target) == (pb.Action.OUTCOME_REFUSED, REPLICA)
            assert "no other replica" in action.detail

            registry.refusal = None
            running.clock.skip(61)  # the cool-down
            both = await eventually(lambda: _two(running))

            assert (both[0].outcome, both[0].policy) == (pb.Action.OUTCOME_DONE, "quarantine-wrong")
            assert [call[:2] for call in registry.calls] == [("quarantine node.digits.2.1", "monitor")]


async def _two(running: RunningMonitor) -> list[pb.Action]:
    found = await ended(running)
    return found if len(found) == 2 else []


async def test_while_the_registry_is_away_it_is_tried_again_also_by_the_next_monitor(
    tmp_path: Path, eventually: Eventually
) -> None:
    left_open(tmp_path, LIMPING)
    with ScriptedRollouts() as registry:
        registry.refusal = grpc.StatusCode.UNAVAILABLE
        async with monitor(tmp_path, registry_address=registry.address) as running:

            async def pending() -> bool:
                return [one.outcome for one in await list_actions(running)] == [pb.Action.OUTCOME_PENDING]

            assert await eventually(pending)
        registry.refusal = None
        async with monitor(tmp_path, registry_address=registry.address) as running:
            (action,) = await eventually(lambda: ended(running))

            assert action.outcome == pb.Action.OUTCOME_DONE
            assert len(registry.calls) == 1


async def test_a_call_that_was_made_is_not_made_again_after_a_kill(tmp_path: Path, eventually: Eventually) -> None:
    left_open(tmp_path, LIMPING)
    with ScriptedRollouts() as registry:
        registry.refusal = grpc.StatusCode.UNAVAILABLE
        async with monitor(tmp_path, registry_address=registry.address) as running:
            (action,) = await eventually(lambda: list_actions(running))
        registry.refusal = None
        done = registry.deployment.quarantines.add(version="models/digits/versions/2", replica=1)
        done.reason = f"{action.incident}: {action.reason}"
        done.quarantine_time.GetCurrentTime()
        async with monitor(tmp_path, registry_address=registry.address) as running:
            (action,) = await eventually(lambda: ended(running))

            assert (action.outcome, registry.calls) == (pb.Action.OUTCOME_DONE, [])


async def test_a_dry_run_says_what_would_be_done_once(tmp_path: Path, eventually: Eventually) -> None:
    left_open(tmp_path, FAILING)
    policies = tmp_path / "policies.toml"
    policies.write_text('[[policy]]\nname = "roll-back-promoted"\naction = "roll_back"\nmode = "dry_run"\n')
    with ScriptedRollouts(rollout(Rollout.STATE_PROMOTED, warm_until_s=warm())) as registry:
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            (action,) = await eventually(lambda: ended(running))
            running.clock.skip(3_600)
            await asyncio.sleep(2.0)

            assert action.outcome == pb.Action.OUTCOME_DRY_RUN
            assert (registry.calls, len(await list_actions(running))) == ([], 1)
            listed = (await actions_of(running).ListPolicies(pb.ListPoliciesRequest())).policies
            assert (listed[0].name, listed[0].mode) == ("roll-back-promoted", pb.Policy.MODE_DRY_RUN)


async def test_a_cool_down_outlives_the_monitor(tmp_path: Path, eventually: Eventually) -> None:
    left_open(tmp_path, LIMPING)
    with ScriptedRollouts() as registry:
        async with monitor(tmp_path, registry_address=registry.address) as running:
            assert await eventually(lambda: ended(running))
        left_open(tmp_path, replace(LIMPING, incident_id="1" * 20, version="3"))
        async with monitor(tmp_path, registry_address=registry.address) as running:
            await asyncio.sleep(2.5)
            assert len(registry.calls) == 1

            running.clock.skip(61)
            assert await eventually(lambda: _two(running))
            assert len(registry.calls) == 2


async def test_a_process_is_taken_out_once_however_long_the_incident_names_it(
    tmp_path: Path, eventually: Eventually
) -> None:
    left_open(tmp_path, LIMPING)
    with ScriptedRollouts() as registry:
        async with monitor(tmp_path, registry_address=registry.address) as running:
            assert await eventually(lambda: ended(running))
            running.clock.skip(90)
            await asyncio.sleep(2.5)

            assert len(registry.calls) == 1


async def test_policies_are_checked_before_they_are_used(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        good = pb.CheckPoliciesRequest(content='[[policy]]\nname = "a"\naction = "hold"')
        assert (await actions_of(running).CheckPolicies(good)).policies[0].name == "a"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await actions_of(running).CheckPolicies(pb.CheckPoliciesRequest(content='[[policy]]\nname = "a"'))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "policy a: action is missing" in (raised.value.details() or "")
