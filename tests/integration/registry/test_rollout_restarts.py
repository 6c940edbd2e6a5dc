"""A registry that is killed in each state of a rollout, and goes on from there when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.registry.v1 import rollout_service_pb2 as api
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.support.registry import RegistryProcess
from tests.support.rollouts import BASELINE, CANDIDATE, FIRST, Stage, State, Strategy
from tests.support.scripted_monitor import Outcome, ScriptedMonitor
from tests.support.waiting import until


@pytest.fixture
def monitor() -> Iterator[ScriptedMonitor]:
    with ScriptedMonitor() as running:
        yield running


@pytest.fixture
def process(tmp_path: Path, monitor: ScriptedMonitor) -> Iterator[RegistryProcess]:
    with RegistryProcess(tmp_path, monitor_address=monitor.address) as running:
        yield running


@asynccontextmanager
async def on_stage(process: RegistryProcess, monitor: ScriptedMonitor) -> AsyncIterator[Stage]:
    """Once the registry serves."""
    async with process.channel() as channel:
        answers = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        while (await answers.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        answers.cancel()
        yield Stage(RegistryServiceStub(channel), RolloutServiceStub(channel), monitor)


def kill_and_restart(process: RegistryProcess) -> None:
    process.kill()
    process.start()


async def versions(stage: Stage) -> list[str]:
    return list((await stage.deployment()).versions)


async def test_killed_while_loading(process: RegistryProcess, monitor: ScriptedMonitor) -> None:
    async with on_stage(process, monitor) as stage:
        await stage.set_up()
        created = await stage.create()
    kill_and_restart(process)

    async with on_stage(process, monitor) as stage:
        assert (await stage.get()).etag == created.etag
        assert await versions(stage) == [CANDIDATE, BASELINE]
        await stage.load()
        await stage.until_state(State.STATE_RUNNING)


@pytest.mark.parametrize("is_crashed", [False, True], ids=["verdict", "crash"])
async def test_killed_while_running(process: RegistryProcess, monitor: ScriptedMonitor, *, is_crashed: bool) -> None:
    async with on_stage(process, monitor) as stage:
        await stage.set_up()
        await stage.create()
        await stage.load()
        before = await stage.until_state(State.STATE_RUNNING)
        await until(lambda: monitor.questions)
    process.kill()
    if not is_crashed:
        monitor.decide("digits-1-0-1", verdict_pb.DECISION_PROMOTE)
    process.start()

    async with on_stage(process, monitor) as stage:
        await stage.serve("1", "2", restarts=int(is_crashed))
        if is_crashed:
            assert "crashed" in (await stage.until_state(State.STATE_ROLLED_BACK)).state_reason
            assert await versions(stage) == [BASELINE]
        else:
            after = await stage.until_state(State.STATE_RUNNING, step=1)
            assert after.events[: len(before.events)] == before.events
            assert next(iter(monitor.questions)) == "digits-1-0-1"  # asked again, as the same question


async def test_killed_while_held(process: RegistryProcess, monitor: ScriptedMonitor) -> None:
    async with on_stage(process, monitor) as stage:
        await stage.set_up()
        await stage.create()
        await stage.load()
        await stage.until_state(State.STATE_RUNNING)
        held = (await stage.rollouts.HoldRollout(api.HoldRolloutRequest(name=FIRST))).rollout
    kill_and_restart(process)

    async with on_stage(process, monitor) as stage:
        await stage.serve("1", "2")
        monitor.decide("digits-1-0-1", verdict_pb.DECISION_PROMOTE)
        await until(lambda: has_decision(stage, verdict_pb.DECISION_PROMOTE))
        present = await stage.get()
        assert (present.state, present.etag) == (State.STATE_HELD, held.etag)
        assert (await stage.deployment()).split.candidate_share == 0.05
        monitor.decide("digits-1-0-1", verdict_pb.DECISION_ROLL_BACK)
        await stage.until_state(State.STATE_ROLLED_BACK)


async def has_decision(stage: Stage, decision: verdict_pb.Decision) -> bool:
    return (await stage.get()).verdict.decision == decision


@pytest.mark.parametrize("is_over", [False, True], ids=["warm", "retired"])
async def test_killed_when_promoted(process: RegistryProcess, monitor: ScriptedMonitor, *, is_over: bool) -> None:
    async with on_stage(process, monitor) as stage:
        await stage.set_up()
        keep = Duration(seconds=3 if is_over else 600)
        await stage.create(strategy=Strategy.STRATEGY_BLUE_GREEN, keep_warm_duration=keep)
        await stage.load()
        await stage.until_state(State.STATE_PROMOTED)
        assert await versions(stage) == [BASELINE, CANDIDATE]
    process.kill()
    if is_over:
        await asyncio.sleep(3)
    process.start()

    async with on_stage(process, monitor) as stage:
        if is_over:
            await until(lambda: has_versions(stage, [CANDIDATE]))
            assert not (await stage.get()).HasField("retire_time")
        else:
            assert await versions(stage) == [BASELINE, CANDIDATE]
            await stage.rollouts.RollBackRollout(api.RollBackRolloutRequest(name=FIRST))
            assert await versions(stage) == [BASELINE]


async def has_versions(stage: Stage, expected: list[str]) -> bool:
    return await versions(stage) == expected


async def test_killed_when_rolled_back_it_still_tells_the_monitor(
    process: RegistryProcess, monitor: ScriptedMonitor
) -> None:
    async with on_stage(process, monitor) as stage:
        await stage.set_up()
        await stage.create()
        await stage.load()
        await stage.until_state(State.STATE_RUNNING)
        await until(lambda: monitor.questions)
        monitor.stop()
        await stage.rollouts.RollBackRollout(api.RollBackRolloutRequest(name=FIRST))
    process.kill()
    monitor.start()
    process.start()

    async with on_stage(process, monitor) as stage:
        await until(lambda: monitor.stopped == ["digits-1-0-1"])
        assert (await stage.get()).state == State.STATE_ROLLED_BACK
        assert await versions(stage) == [BASELINE]


async def test_killed_when_failed(process: RegistryProcess, monitor: ScriptedMonitor) -> None:
    async with on_stage(process, monitor) as stage:
        await stage.set_up()
        await stage.create()
        monitor.probed("one.digits.2.0", outcome=Outcome.OUTCOME_FAIL, detail="nonsense")
        await stage.serve("1", "2")
        failed = await stage.until_state(State.STATE_FAILED)
    kill_and_restart(process)

    async with on_stage(process, monitor) as stage:
        await asyncio.sleep(1)
        assert await stage.get() == failed
        assert await versions(stage) == [BASELINE]


async def test_another_registry_goes_on_when_the_one_that_writes_is_killed(
    tmp_path: Path, monitor: ScriptedMonitor
) -> None:
    database = f"sqlite:///{tmp_path}/registry.db"
    with RegistryProcess(tmp_path / "a", monitor_address=monitor.address, DATABASE_URL=database) as first:
        async with on_stage(first, monitor) as stage:
            await stage.set_up()
            await stage.create()
            await stage.load()
            await stage.until_state(State.STATE_RUNNING)
            await until(lambda: monitor.questions)
        with RegistryProcess(tmp_path / "b", monitor_address=monitor.address, DATABASE_URL=database) as second:
            async with on_stage(second, monitor) as stage:
                assert (await stage.get()).step == 0
                first.kill()
                monitor.decide("digits-1-0-1", verdict_pb.DECISION_PROMOTE)

                running = await stage.until_state(State.STATE_RUNNING, step=1)

                promote = api.PromoteRolloutRequest(name=FIRST, etag=running.etag, is_whole=True)
                await stage.rollouts.PromoteRollout(promote)
                assert await versions(stage) == [BASELINE, CANDIDATE]
