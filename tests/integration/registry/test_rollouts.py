"""Rollouts as a registry carries them on: real database, real gRPC, a monitor that says what it is told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.registry.v1 import registry_service_pb2 as registry_api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1 import rollout_service_pb2 as api
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.support.registry import SIGNATURE, Registry, fails, running_registry
from tests.support.rollouts import BASELINE, CANDIDATE, DEPLOYMENT, FIRST, Stage, State, Strategy
from tests.support.scripted_monitor import Outcome, ScriptedMonitor
from tests.support.waiting import until

CONTINUE, PROMOTE = verdict_pb.DECISION_CONTINUE, verdict_pb.DECISION_PROMOTE
HOLD, ROLL_BACK = verdict_pb.DECISION_HOLD, verdict_pb.DECISION_ROLL_BACK
NO_PRECONDITION = StatusCode.FAILED_PRECONDITION


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


async def versions(stage: Stage) -> list[str]:
    return list((await stage.deployment()).versions)


async def actions(stage: Stage) -> list[tuple[str, str]]:
    """What the audit log says of rollouts."""
    entries = await stage.registry.ListAuditEntries(registry_api.ListAuditEntriesRequest(model="models/digits"))
    return [(one.action, one.actor) for one in entries.audit_entries if one.action.startswith("rollout.")]


async def turn(registry: Registry, stage: Stage, seconds: float) -> None:
    """Let time pass, during which the node goes on to report."""
    registry.clock.turn(seconds)
    await stage.serve("1", "2")


async def pass_time(registry: Registry, stage: Stage, condition: Callable[[], Awaitable[bool]]) -> None:
    """Second after second, until something is so: a channel takes a moment to find its peer again."""

    async def is_so() -> bool:
        await turn(registry, stage, 1)
        return await condition()

    await until(is_so)


async def test_a_canary_is_loaded_probed_proven_step_by_step_and_promoted(stage: Stage, registry: Registry) -> None:
    created = await stage.create(alpha=0.03)
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
    assert (promoted.state_reason, promoted.verdict.candidate_request_count) == ("step 3 is proven safe", 200)
    deployment = await stage.deployment()
    assert (list(deployment.versions), deployment.HasField("split")) == ([BASELINE, CANDIDATE], False)
    await until(lambda: stage.monitor.stopped == ["digits-1-0-1", "digits-1-1-1", "digits-1-2-1"])
    await turn(registry, stage, 600)
    await until(lambda: is_retired(stage))
    assert await versions(stage) == [CANDIDATE]
    found = (await registry.rollouts.ListRollouts(api.ListRolloutsRequest(parent="deployments/-"))).rollouts
    assert [(one.name, len(one.events)) for one in found] == [(FIRST, 0)]
    told = ["create", "step", "step", "step", "promote", "retire"]
    assert await actions(stage) == [(f"rollout.{one}", "registry" if one != "create" else "") for one in told]


async def is_retired(stage: Stage) -> bool:
    return not (await stage.get()).HasField("retire_time")


async def test_the_monitor_is_asked_as_the_step_says(stage: Stage, registry: Registry) -> None:
    guardrail = verdict_pb.Guardrail(signal=verdict_pb.Guardrail.SIGNAL_ERROR_RATE, margin=0.02)
    steps = [api.RolloutStep(shadow_share=0.5), api.RolloutStep(candidate_share=0.2, min_request_count=7)]
    await stage.create(steps=steps, guardrails=[guardrail], alpha=0.02)
    await stage.load()
    first = await stage.until_state(State.STATE_RUNNING)
    await until(lambda: stage.monitor.questions)
    stage.monitor.decide("digits-1-0-1", PROMOTE)
    await turn(registry, stage, 1)
    await stage.until_state(State.STATE_RUNNING, step=1)
    await until(lambda: len(stage.monitor.questions) == 2)

    shadow, split = stage.monitor.questions.values()
    assert (shadow.mode, shadow.weight, shadow.is_partial) == (verdict_pb.COMPARISON_MODE_SHADOW, 0.5, True)
    assert (split.mode, split.weight, split.is_partial) == (verdict_pb.COMPARISON_MODE_SPLIT, 0.2, False)
    assert (split.model, split.candidate, split.baseline, split.is_drawn) == ("digits", "2", "1", True)
    assert (split.alpha, list(split.guardrails), split.min_request_count) == (0.01, [guardrail], 7)
    begun = first.step_start_time.ToNanoseconds()
    assert shadow.start_time.ToNanoseconds() == begun + 10**9
    assert (split.duration.seconds, split.min_duration.seconds) == (3_600, 10)


async def test_keys_are_no_dice(stage: Stage) -> None:
    await stage.create(strategy=Strategy.STRATEGY_AB_TEST, sticky_key="user")
    await stage.load()
    await stage.until_state(State.STATE_RUNNING)
    await until(lambda: stage.monitor.questions)

    assert stage.monitor.questions["digits-1-0-1"].weight == 0
    assert (await stage.deployment()).split.sticky_key == "user"


async def test_a_failed_probe_gives_no_traffic(stage: Stage) -> None:
    await stage.create()
    stage.monitor.probed("one.digits.2.0", outcome=Outcome.OUTCOME_FAIL, detail="it answers nonsense")
    await stage.serve("1", "2")

    failed = await stage.until_state(State.STATE_FAILED)

    assert "golden probe: it answers nonsense" in failed.state_reason
    assert [event.state for event in failed.events] == [State.STATE_LOADING, State.STATE_FAILED]
    assert (await versions(stage), stage.monitor.questions) == ([BASELINE], {})
    assert not (await stage.deployment()).HasField("split")


async def test_who_does_not_load_in_time_fails_and_the_old_version_stays(stage: Stage, registry: Registry) -> None:
    await stage.create(strategy=Strategy.STRATEGY_ALL_AT_ONCE)
    await stage.serve("1", "2", state=pb.InstanceStatus.STATE_LOADING)
    registry.clock.turn(599)
    await stage.serve("1", "2", state=pb.InstanceStatus.STATE_LOADING)
    await asyncio.sleep(0.2)
    assert (await stage.get()).state == State.STATE_LOADING

    registry.clock.turn(1)

    failed = await stage.until_state(State.STATE_FAILED)
    assert failed.state_reason.startswith("it did not come up within 600 s: 0 of 1 replicas take requests")
    assert await versions(stage) == [BASELINE]


async def test_all_at_once_keeps_nothing_warm_and_blue_green_goes_back_at_once(
    stage: Stage, registry: Registry
) -> None:
    await stage.create(strategy=Strategy.STRATEGY_ALL_AT_ONCE)
    await stage.load()
    await stage.until_state(State.STATE_PROMOTED)
    assert await versions(stage) == [CANDIDATE]
    await fails(roll_back(registry.rollouts), NO_PRECONDITION, with_text=["PROMOTED", BASELINE])

    stage.monitor.probed("one.digits.1.0")
    back = api.Rollout(candidate=BASELINE, plan=api.RolloutPlan(strategy=Strategy.STRATEGY_BLUE_GREEN))
    await registry.rollouts.CreateRollout(api.CreateRolloutRequest(parent=DEPLOYMENT, rollout=back))
    await turn(registry, stage, 1)
    await until(lambda: is_promoted(stage, f"{DEPLOYMENT}/rollouts/2"))
    assert await versions(stage) == [CANDIDATE, BASELINE]

    await roll_back(registry.rollouts, name=f"{DEPLOYMENT}/rollouts/2")

    assert await versions(stage) == [CANDIDATE]


async def is_promoted(stage: Stage, name: str) -> bool:
    return (await stage.get(name)).state == State.STATE_PROMOTED


def roll_back(stub: RolloutServiceStub, *, name: str = FIRST, **fields: Any) -> Awaitable[api.RollBackRolloutResponse]:
    return stub.RollBackRollout(api.RollBackRolloutRequest(name=name, **fields))


def promote(stub: RolloutServiceStub, **fields: Any) -> Awaitable[api.PromoteRolloutResponse]:
    return stub.PromoteRollout(api.PromoteRolloutRequest(name=FIRST, **fields))


async def test_an_alias_moves_with_the_promotion_and_back(stage: Stage, registry: Registry) -> None:
    alias = pb.Alias(name="models/digits/aliases/live", version=BASELINE)
    await registry.stub.SetAlias(registry_api.SetAliasRequest(alias=alias))
    await stage.create(alias="live")
    await stage.load()
    await stage.until_state(State.STATE_RUNNING)
    assert (await stage.deployment()).split.alias == "live"

    async def named() -> str:
        request = registry_api.ListAliasesRequest(parent="models/digits")
        return (await registry.stub.ListAliases(request)).aliases[0].version

    await promote(registry.rollouts, is_whole=True)
    assert await named() == CANDIDATE

    await roll_back(registry.rollouts, reason="it is blue")
    assert (await named(), await versions(stage)) == (BASELINE, [BASELINE])


async def test_a_baseline_that_an_alias_names_stays(stage: Stage, registry: Registry) -> None:
    alias = pb.Alias(name="models/digits/aliases/old", version=BASELINE)
    await registry.stub.SetAlias(registry_api.SetAliasRequest(alias=alias))

    await stage.create(strategy=Strategy.STRATEGY_ALL_AT_ONCE)
    await stage.load()

    await stage.until_state(State.STATE_PROMOTED)
    assert await versions(stage) == [BASELINE, CANDIDATE]


@pytest.mark.parametrize("is_held", [False, True], ids=["running", "held"])
async def test_a_verdict_rolls_back(stage: Stage, registry: Registry, *, is_held: bool) -> None:
    await stage.create()
    await stage.load()
    await stage.until_state(State.STATE_RUNNING)
    comparison = "digits-1-0-1"
    if is_held:
        stage.monitor.decide(comparison, HOLD, reason="the time is up", is_final=True)
        await turn(registry, stage, 1)
        held = await stage.until_state(State.STATE_HELD)
        assert (held.state_reason, held.verdict.decision) == ("held: the time is up", HOLD)
        comparison = held.comparison.removeprefix("comparisons/")
        assert comparison == "digits-1-0-2"
        assert (await stage.deployment()).split.candidate_share == 0.05

    stage.monitor.decide(comparison, ROLL_BACK, reason="errors: 3 % instead of 1 %", is_final=True)
    await turn(registry, stage, 1)

    ended = await stage.until_state(State.STATE_ROLLED_BACK)
    assert (ended.state_reason, ended.verdict.decision) == ("errors: 3 % instead of 1 %", ROLL_BACK)
    assert ended.HasField("end_time")
    assert await versions(stage) == [BASELINE]


async def test_a_crash_of_the_candidate_rolls_back(stage: Stage) -> None:
    await stage.create()
    await stage.load()
    await stage.until_state(State.STATE_RUNNING)

    await stage.serve("1", "2", state=pb.InstanceStatus.STATE_LOADING, restarts=1)

    ended = await stage.until_state(State.STATE_ROLLED_BACK)
    assert ended.state_reason.startswith("its process crashed: one.digits.2.0")
    assert await versions(stage) == [BASELINE]


async def test_of_two_operators_at_once_one_is_told_to_look_again(stage: Stage, registry: Registry) -> None:
    created = await stage.create()
    for call in (promote(registry.rollouts), hold(registry.rollouts), resume(registry.rollouts)):
        await fails(call, NO_PRECONDITION, with_text=["LOADING"])
    await stage.load()
    running = await stage.until_state(State.STATE_RUNNING)
    await fails(promote(registry.rollouts, etag=created.etag), StatusCode.ABORTED, with_text=[running.etag])

    results = await asyncio.gather(
        promote(registry.rollouts, etag=running.etag),
        roll_back(registry.rollouts, etag=running.etag),
        hold(registry.rollouts, etag=running.etag),
        return_exceptions=True,
    )

    codes = [one.code() for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert codes == [StatusCode.ABORTED] * 2
    present = await stage.get()
    assert len(present.events) == 3


def hold(stub: RolloutServiceStub, **fields: Any) -> Awaitable[api.HoldRolloutResponse]:
    return stub.HoldRollout(api.HoldRolloutRequest(name=FIRST, **fields))


def resume(stub: RolloutServiceStub, **fields: Any) -> Awaitable[api.ResumeRolloutResponse]:
    return stub.ResumeRollout(api.ResumeRolloutRequest(name=FIRST, **fields))


async def test_a_verdict_comes_in_under_the_same_etag(stage: Stage, registry: Registry) -> None:
    await stage.create()
    await stage.load()
    running = await stage.until_state(State.STATE_RUNNING)
    for number in range(3):
        stage.monitor.decide("digits-1-0-1", CONTINUE, reason=f"look {number}")
        await turn(registry, stage, 1)
        await until(lambda: has_verdict(stage, f"look {number}"))  # noqa: B023 - awaited here

    assert (await promote(registry.rollouts, etag=running.etag)).rollout.step == 1


async def has_verdict(stage: Stage, reason: str) -> bool:
    return (await stage.get()).verdict.reason == reason


async def test_what_is_held_by_hand_goes_on_by_hand(stage: Stage, registry: Registry) -> None:
    await stage.create()
    await stage.load()
    await stage.until_state(State.STATE_RUNNING)
    held = (await hold(registry.rollouts, reason="lunch")).rollout
    stage.monitor.decide("digits-1-0-1", PROMOTE)
    await turn(registry, stage, 2)
    await until(lambda: has_verdict(stage, "so it is"))
    assert (await stage.get()).state == State.STATE_HELD

    resumed = (await resume(registry.rollouts, etag=held.etag)).rollout

    assert (resumed.state, resumed.comparison) == (State.STATE_RUNNING, "comparisons/digits-1-0-2")
    assert (await stage.deployment()).split.comparison == resumed.comparison
    await until(lambda: stage.monitor.stopped == ["digits-1-0-1"])
    assert [one for one, _ in await actions(stage)] == [f"rollout.{one}" for one in ("create", "step", "hold", "step")]


async def test_versions_are_the_rollouts_while_it_is_under_way(stage: Stage, registry: Registry) -> None:
    await stage.create()
    third = await stage.add_version(b"more")

    def update(**fields: Any) -> Awaitable[registry_api.UpdateDeploymentResponse]:
        request = registry_api.UpdateDeploymentRequest(deployment=pb.Deployment(name=DEPLOYMENT, **fields))
        request.update_mask.paths.extend(fields)
        return registry.stub.UpdateDeployment(request)

    await fails(update(versions=[third]), NO_PRECONDITION, with_text=[FIRST, "penstock rollout rollback digits"])
    rollout = api.Rollout(candidate=third)
    again = api.CreateRolloutRequest(parent=DEPLOYMENT, rollout=rollout)
    await fails(registry.rollouts.CreateRollout(again), NO_PRECONDITION, with_text=[FIRST])
    deleted = registry.stub.DeleteModelVersion(registry_api.DeleteModelVersionRequest(name=CANDIDATE))
    await fails(deleted, NO_PRECONDITION)
    assert (await update(replicas=2)).deployment.split.rollout == FIRST

    await update(replicas=1)
    await stage.load()
    await stage.until_state(State.STATE_RUNNING)
    await promote(registry.rollouts, is_whole=True)
    await update(versions=[BASELINE, CANDIDATE, third])  # somebody deploys on top: what is warm is theirs now
    await fails(roll_back(registry.rollouts), NO_PRECONDITION, with_text=["changed by hand"])


async def test_the_next_rollout_ends_the_warmth_of_the_last(stage: Stage, registry: Registry) -> None:
    await stage.create(strategy=Strategy.STRATEGY_BLUE_GREEN)
    await stage.load()
    await stage.until_state(State.STATE_PROMOTED)
    third = await stage.add_version(b"more")

    request = api.CreateRolloutRequest(parent=DEPLOYMENT, rollout=api.Rollout(candidate=third))
    second = (await registry.rollouts.CreateRollout(request)).rollout

    assert await versions(stage) == [third, CANDIDATE]
    await fails(roll_back(registry.rollouts), NO_PRECONDITION, with_text=["the next rollout begins"])
    await roll_back(registry.rollouts, name=second.name)
    assert await versions(stage) == [CANDIDATE]
    listed = api.ListRolloutsRequest(parent=DEPLOYMENT, page_size=1)
    page = await registry.rollouts.ListRollouts(listed)
    assert [one.name for one in page.rollouts] == [second.name]
    listed.page_token = page.next_page_token
    page = await registry.rollouts.ListRollouts(listed)
    assert ([one.name for one in page.rollouts], page.next_page_token) == ([FIRST], "")
    active = api.ListRolloutsRequest(parent="deployments/-", is_active=True)
    assert not (await registry.rollouts.ListRollouts(active)).rollouts


async def test_a_deployment_that_is_deleted_takes_its_rollout_along(stage: Stage, registry: Registry) -> None:
    await stage.create()
    await stage.load()
    await stage.until_state(State.STATE_RUNNING)
    await until(lambda: stage.monitor.questions)

    await registry.stub.DeleteDeployment(registry_api.DeleteDeploymentRequest(name=DEPLOYMENT))

    ended = await stage.get()
    assert (ended.state, ended.state_reason) == (State.STATE_ROLLED_BACK, "the deployment was deleted")
    await until(lambda: stage.monitor.stopped == ["digits-1-0-1"])
    await registry.stub.DeleteModel(registry_api.DeleteModelRequest(name="models/digits"))
    await fails(stage.get(), StatusCode.NOT_FOUND)


async def test_a_repeated_creation_answers_as_the_first_did(stage: Stage, registry: Registry) -> None:
    rollout = api.Rollout(candidate=CANDIDATE, reason="it is better")
    request = api.CreateRolloutRequest(parent=DEPLOYMENT, rollout=rollout, request_id=str(uuid.uuid4()))
    first = (await registry.rollouts.CreateRollout(request)).rollout
    await roll_back(registry.rollouts)

    assert (await registry.rollouts.CreateRollout(request)).rollout.name == first.name
    request.request_id = str(uuid.uuid4())
    assert (await registry.rollouts.CreateRollout(request)).rollout.name == f"{DEPLOYMENT}/rollouts/2"


async def test_candidates_that_can_not_stand_in_are_refused(stage: Stage, registry: Registry) -> None:
    wide = pb.Signature()
    wide.CopyFrom(SIGNATURE)
    wide.inputs[0].shape[1] = 5
    third = await stage.add_version(b"wide", signature=wide)
    silent = pb.Signature()
    silent.CopyFrom(SIGNATURE)
    silent.outputs[0].name = "z"
    fourth = await stage.add_version(b"other", signature=silent)
    pending = (await registry.create_version("digits", b"pending")).name

    async def expect(code: StatusCode, candidate: str, *texts: str, etag: str = "", **plan: Any) -> None:
        rollout = api.Rollout(candidate=candidate, plan=api.RolloutPlan(**plan))
        request = api.CreateRolloutRequest(parent=DEPLOYMENT, rollout=rollout, deployment_etag=etag)
        await fails(registry.rollouts.CreateRollout(request), code, with_text=texts)

    await expect(NO_PRECONDITION, BASELINE, "gets the requests")
    await expect(NO_PRECONDITION, pending, "PENDING")
    await expect(NO_PRECONDITION, third, "x FP32[-1, 5]", "x FP32[-1, 4]", "BLUE_GREEN")
    await expect(NO_PRECONDITION, fourth, "z FP32[-1, 2]", "y FP32[-1, 2]")
    await expect(StatusCode.NOT_FOUND, "models/digits/versions/9", "versions/9")
    await expect(StatusCode.NOT_FOUND, CANDIDATE, "aliases/live", alias="live")
    await expect(StatusCode.ABORTED, CANDIDATE, "etag", etag="0")
    await expect(StatusCode.INVALID_ARGUMENT, "models/letters/versions/1", "expected a version of digits")
    await expect(StatusCode.INVALID_ARGUMENT, CANDIDATE, "sticky_key", strategy=Strategy.STRATEGY_AB_TEST)
    missing = api.CreateRolloutRequest(
        parent="deployments/none", rollout=api.Rollout(candidate="models/none/versions/1")
    )
    await fails(registry.rollouts.CreateRollout(missing), StatusCode.NOT_FOUND, with_text=["deployments/none"])
    assert not (await registry.rollouts.ListRollouts(api.ListRolloutsRequest(parent="deployments/-"))).rollouts


async def test_a_question_that_the_monitor_refuses_waits_for_a_person(stage: Stage, registry: Registry) -> None:
    stage.monitor.refusal = "got margin 7 for errors, expected at most 0.5"
    await stage.create()
    await stage.load()

    held = await stage.until_state(State.STATE_HELD)

    assert held.state_reason == "the monitor can't compare: got margin 7 for errors, expected at most 0.5"
    assert (await stage.deployment()).split.candidate_share == 0.05
    stage.monitor.refusal = ""
    assert (await resume(registry.rollouts)).rollout.comparison == "comparisons/digits-1-0-2"


async def test_a_name_that_the_monitor_knows_from_before_is_no_obstacle(stage: Stage, registry: Registry) -> None:
    stage.monitor.taken.add("digits-1-0-1")
    await stage.create()
    await stage.load()

    await until(lambda: "digits-1-0-2" in stage.monitor.questions)

    assert (await stage.deployment()).split.comparison == "comparisons/digits-1-0-2"


async def test_a_monitor_that_is_away_decides_nothing_at_any_state(stage: Stage, registry: Registry) -> None:
    stage.monitor.stop()
    await stage.create()
    await stage.load()
    await pass_time(registry, stage, lambda: is_told(stage, "the monitor does not answer"))
    assert (await stage.get()).state == State.STATE_LOADING
    stage.monitor.start()
    await pass_time(registry, stage, lambda: is_at(stage, State.STATE_RUNNING, 0))

    stage.monitor.stop()
    stage.monitor.decide("digits-1-0-1", PROMOTE)
    await pass_time(registry, stage, lambda: is_told(stage, "(nothing is decided: the monitor does not answer)"))
    assert await is_at(stage, State.STATE_RUNNING, 0)
    stage.monitor.start()
    await pass_time(registry, stage, lambda: is_at(stage, State.STATE_RUNNING, 1))

    stage.monitor.stop()
    await roll_back(registry.rollouts)  # a person needs no monitor
    assert await versions(stage) == [BASELINE]
    assert "digits-1-1-1" not in stage.monitor.stopped
    stage.monitor.start()

    async def is_stopped() -> bool:
        return "digits-1-1-1" in stage.monitor.stopped

    await pass_time(registry, stage, is_stopped)


async def is_at(stage: Stage, state: State, step: int) -> bool:
    rollout = await stage.get()
    return (rollout.state, rollout.step) == (state, step)


async def is_told(stage: Stage, text: str) -> bool:
    return text in (await stage.get()).state_reason


async def test_the_first_monitor_that_answers_is_asked(database_url: str, tmp_path: Path) -> None:
    with ScriptedMonitor() as one, ScriptedMonitor() as other:
        first, second = sorted((one, other), key=lambda monitor: monitor.address)
        both = f"{second.address},{first.address}"
        async with running_registry(tmp_path, database_url=database_url, monitor_address=both) as registry:
            stage = Stage(registry.stub, registry.rollouts, first)
            await stage.set_up()
            await stage.create()
            await stage.load()
            await stage.until_state(State.STATE_RUNNING)
            await until(lambda: first.questions)
            assert not second.questions

            first.stop()

            async def is_asked() -> bool:
                return bool(second.questions)

            await pass_time(registry, stage, is_asked)


async def test_other_registries_pass_decisions_on_and_read_by_themselves(
    database_url: str, tmp_path: Path, monitor: ScriptedMonitor
) -> None:
    async with (
        running_registry(tmp_path / "a", database_url=database_url, monitor_address=monitor.address) as writer,
        running_registry(
            tmp_path / "b", database_url=database_url, clock=writer.clock, artifacts=str(tmp_path / "a" / "artifacts")
        ) as reader,
    ):
        stage = Stage(writer.stub, reader.rollouts, monitor)
        await stage.set_up()
        await stage.create()
        await stage.load()
        running = await stage.until_state(State.STATE_RUNNING)

        promoted = (await promote(reader.rollouts, etag=running.etag, is_whole=True)).rollout

        assert promoted.state == State.STATE_PROMOTED
        assert (await writer.rollouts.GetRollout(api.GetRolloutRequest(name=FIRST))).rollout == promoted
        await fails(promote(reader.rollouts), NO_PRECONDITION, with_text=["PROMOTED"])
