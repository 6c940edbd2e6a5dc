"""``penstock actions``, asked of a monitor that acted."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from services.monitor.domain.phases import Cause
from tests.integration.monitor.test_actions import FAILING, REPLICA, left_open, list_actions
from tests.integration.monitor.test_retraining import retrainings
from tests.support import commands
from tests.support.monitor_process import RunningMonitor, monitor
from tests.support.scripted_rollouts import ScriptedRollouts
from tests.support.waiting import until

BROKEN = replace(FAILING, cause=Cause.REPLICA, replica=REPLICA)
POLICIES = """
[[policy]]
name = "train"
action = "retrain"
signals = ["error_rate"]
[policy.retraining]
command = ["/bin/sh", "-c", "echo no data; exit 3"]
"""


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningMonitor]:
    """A monitor that said of a replica what it would do, and had a model retrained in vain."""
    left_open(tmp_path, BROKEN)
    (tmp_path / "policies.toml").write_text(POLICIES)
    with ScriptedRollouts() as registry:
        async with monitor(tmp_path, registry_address=registry.address, policies=tmp_path / "policies.toml") as one:

            async def has_acted() -> bool:
                found = await retrainings(one)
                return len(await list_actions(one)) == 2 and bool(found) and found[0].HasField("end_time")

            await until(has_acted)
            yield one


async def ask(running: RunningMonitor, *words: str) -> CompletedProcess[str]:
    arguments = (*words, "--monitor", f"127.0.0.1:{running.ports.api}")
    return await asyncio.to_thread(commands.run, os.environ, *arguments)


async def answer(running: RunningMonitor, *words: str) -> Any:
    done = await ask(running, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_what_was_done_is_listed_and_shown(running: RunningMonitor, tmp_path: Path) -> None:
    listed = await answer(running, "actions", "list", "--model", "digits")
    by_kind = {one["kind"]: one for one in listed["actions"]}
    quarantine, retrain = by_kind["KIND_QUARANTINE"], by_kind["KIND_RETRAIN"]
    assert (quarantine["outcome"], quarantine["target"]) == ("OUTCOME_DRY_RUN", REPLICA)
    assert listed["retrainings"][0]["state"] == "STATE_FAILED"

    shown = await ask(running, "actions", "show", quarantine["name"].removeprefix("actions/"))
    assert "dry run  quarantine of node.digits.2.1@abc.def: dry run" in shown.stdout
    training = await ask(running, "actions", "show", retrain["target"])
    assert "it ended with status 3" in training.stdout
    assert "no data" in training.stdout
    incident = await ask(running, "incidents", BROKEN.incident_id)
    assert f"quarantine of {REPLICA}: dry run" in incident.stdout
    assert f"retrain of {retrain['target']}: done" in incident.stdout
    refused = await ask(running, "actions", "cancel", retrain["target"])
    assert (refused.returncode, "is failed" in refused.stderr) == (1, True)

    policies = await answer(running, "actions", "policies")
    assert policies[0]["retraining"] == "command /bin/sh"
    mine = tmp_path / "mine.toml"
    mine.write_text('[[policy]]\nname = "a"\naction = "hold"\nmin_age = "soon"')
    refused = await ask(running, "actions", "policies", "--check", str(mine))
    assert (refused.returncode, "policy a: min_age: got 'soon'" in refused.stderr) == (1, True)
