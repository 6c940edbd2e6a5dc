"""What breaks under load and what the clients see of it: nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.load import identity_load
from tests.support.suite import Suite, wait_until

pytestmark = pytest.mark.timeout(180)


async def _break_under_load(suite: Suite, hurt: Callable[[], None], *, times: int = 2) -> None:
    async with identity_load(suite.grpc_address, model="slow", clients=16) as outcome:
        for _ in range(times):
            await outcome.more(200)
            await asyncio.to_thread(hurt)
        await outcome.more(400)
    assert (outcome.wrong, dict(outcome.errors)) == (0, {})
    assert outcome.right > 200 * times


def _kill(suite: Suite, part: str) -> None:
    """Kill a part and wait until its successor runs."""
    pid = suite.pid_of(part)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _successor(suite, part, pid))


def _successor(suite: Suite, part: str, pid: int) -> bool:
    try:
        return suite.pid_of(part) != pid
    except (AssertionError, psutil.NoSuchProcess):
        return False


async def test_killed_model_process_loses_nothing(suite: Suite) -> None:
    def hurt() -> None:
        (pid,) = wait_until(lambda: suite.model_pids("slow"))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: suite.model_pids("slow") not in ([], [pid]))

    await _break_under_load(suite, hurt)


async def test_killed_agent_loses_nothing(suite: Suite) -> None:
    await _break_under_load(suite, lambda: _kill(suite, "inference"))


async def test_killed_agent_leaves_no_model_process_behind(suite: Suite) -> None:
    before = set(suite.model_pids("identity"))
    _kill(suite, "inference")
    after = wait_until(lambda: set(suite.model_pids("identity")) - before, within=60)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in before), within=60)
    assert len(after) == 1


async def test_killed_registry_loses_nothing(suite: Suite) -> None:
    await _break_under_load(suite, lambda: _kill(suite, "registry"))


async def test_killed_monitor_loses_nothing(suite: Suite) -> None:
    await _break_under_load(suite, lambda: _kill(suite, "monitor"))


async def test_redis_that_comes_back_empty_loses_nothing(suite: Suite) -> None:
    await _break_under_load(suite, lambda: _kill(suite, "redis"))


async def test_killed_gateway_fails_only_the_calls_open_on_it(suite: Suite) -> None:
    async with identity_load(suite.grpc_address, model="slow", clients=8) as outcome:
        await outcome.more(100)
        await asyncio.to_thread(_kill, suite, "gateway")
        await outcome.more(400)
    assert outcome.wrong == 0
    assert all("UNAVAILABLE" in error or "CANCELLED" in error for error in outcome.errors), outcome.errors


async def test_new_version_replaces_the_old_one_under_load(suite: Suite, model_files: dict[str, Path]) -> None:
    def hurt() -> None:
        suite.command("deploy", str(model_files["slow"]), "--name", "slow", "--wait")

    await _break_under_load(suite, hurt, times=1)
