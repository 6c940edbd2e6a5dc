"""``penstock rollout``, asked of a registry whose monitor says what it is told."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from penstock import errors
from penstock.client import Client
from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.registry.v1.rollout_service_pb2 import ListRolloutsRequest, Rollout
from tests.support import commands
from tests.support.registry import Registry, running_registry
from tests.support.rollouts import Stage, State
from tests.support.scripted_monitor import Outcome, ScriptedMonitor
from tests.support.waiting import until


@pytest.fixture
async def monitor() -> AsyncIterator[ScriptedMonitor]:
    with ScriptedMonitor() as running:
        yield running


@pytest.fixture
async def registry(tmp_path: Path, monitor: ScriptedMonitor) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path, monitor_address=monitor.address) as running:
        yield running


@pytest.fixture
async def stage(registry: Registry, monitor: ScriptedMonitor) -> Stage:
    stage = Stage(registry.stub, registry.rollouts, monitor)
    await stage.set_up()
    return stage


async def rollout(registry: Registry, *words: str) -> CompletedProcess[str]:
    return await asyncio.to_thread(commands.run, os.environ, "rollout", *words, "--registry", registry.address)


async def is_begun(registry: Registry) -> bool:
    request = ListRolloutsRequest(parent="deployments/digits")
    return bool((await registry.rollouts.ListRollouts(request)).rollouts)


async def test_a_failed_probe_ends_the_command_with_5(registry: Registry, stage: Stage) -> None:
    waiting = asyncio.create_task(rollout(registry, "start", "digits", "2", "--wait"))
    await until(lambda: is_begun(registry))
    stage.monitor.probed("one.digits.2.0", outcome=Outcome.OUTCOME_FAIL, detail="answers are other ones")
    await stage.serve("1", "2")
    done = await waiting
    assert (done.returncode, done.stderr) == (5, "")
    assert "answers are other ones" in done.stdout


async def test_harm_ends_the_command_with_3_and_says_what_was_seen(registry: Registry, stage: Stage) -> None:
    waiting = asyncio.create_task(rollout(registry, "start", "digits", "2", "--steps", "10", "--wait", "--json"))
    await until(lambda: is_begun(registry))
    await stage.load()
    running = await stage.until_state(State.STATE_RUNNING)
    comparison = running.comparison.removeprefix("comparisons/")
    stage.monitor.decide(comparison, verdict_pb.DECISION_ROLL_BACK, reason="version 2 is worse", is_final=True)
    done = await waiting
    found = json.loads(done.stdout)
    assert (done.returncode, found["state"], found["state_reason"]) == (3, "STATE_ROLLED_BACK", "version 2 is worse")
    assert found["verdict"]["guardrails"][0]["key"] == "errors"


async def test_each_change_is_a_line_of_json(registry: Registry, stage: Stage) -> None:
    await stage.create(is_manual=True, strategy="STRATEGY_BLUE_GREEN")
    watching = asyncio.create_task(rollout(registry, "status", "digits/1", "--watch", "--json"))
    await asyncio.sleep(1.5)
    await stage.load()
    done = await watching
    states = [json.loads(line)["state"] for line in done.stdout.splitlines()]
    assert (done.returncode, states[0], states[-1]) == (4, "STATE_LOADING", "STATE_HELD")


async def test_what_there_is_not_is_said(registry: Registry, stage: Stage) -> None:
    assert (await rollout(registry, "history")).stdout == "No rollouts.\n"
    for words, said in (
        (("status", "digits"), "digits has had no rollout"),
        (("status", "digits/7"), "rollouts/7"),
        (("promote", "letters"), "letters"),
        (("start", "digits", "9"), "versions/9"),
        (("start", "digits", "1"), "models/digits/versions/1"),
    ):
        done = await rollout(registry, *words)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


async def test_watching_outlives_a_registry_that_is_away(
    registry: Registry, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.create(strategy="STRATEGY_BLUE_GREEN")
    with Client(registry=registry.address) as client:
        get, answers = client.rollouts.get, iter([True, False, False])

        def get_or_not(name: str) -> Rollout:
            if not next(answers, True):
                raise errors.ConnectionFailedError("registry", registry.address)
            return get(name)

        monkeypatch.setattr(client.rollouts, "get", get_or_not)
        watching = asyncio.create_task(
            asyncio.to_thread(lambda: [one.state for one in client.rollouts.watch("deployments/digits/rollouts/1")])
        )
        await asyncio.sleep(0.5)
        await stage.load()
        states = await watching
    assert (states[0], states[-1], next(answers, None)) == (State.STATE_LOADING, State.STATE_PROMOTED, None)


async def test_a_registry_that_stays_away_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.rollouts._PATIENCE_S", 0.0)
    with Client(registry="127.0.0.1:9") as client, pytest.raises(errors.ConnectionFailedError):
        await asyncio.to_thread(list, client.rollouts.watch("deployments/digits/rollouts/1"))
