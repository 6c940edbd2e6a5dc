"""Processes that the agent starts, and what it hears of them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from typing import Any

import pytest

from services.inference.adapters.child import Child, Event

MODULE = "tests.support.obedient_child"


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGRTMIN + 1, "signal 35")])
async def test_what_is_no_event_is_left_out_and_the_end_has_a_reason(number: int, name: str) -> None:
    heard: list[Event] = []
    spec = {"lines": ["no JSON", "7", '["failure"]', '{"state": "ready"}'], "signal": number}

    child = await Child.start(MODULE, json.dumps(spec), heard.append)

    assert await child.wait() == f"died of {name}"
    assert heard == [{"state": "ready"}]
    child.tell(too="late")


async def test_secrets_are_not_in_a_child_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = [
        "PENSTOCK_REDIS_URL",
        "CONSUL_HTTP_ADDR",
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "PGPASSWORD",
        "OPENAI_API_KEY",
    ]
    for name in (*secret, "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "x")
    heard: list[Event] = []

    child = await Child.start(
        MODULE, json.dumps({"lines": [], "environ": True, "signal": signal.SIGKILL}), heard.append
    )

    await child.wait()
    (environ,) = heard
    assert not environ.keys() & set(secret)
    assert (environ["LD_LIBRARY_PATH"], environ["ORT_DISABLE_TELEMETRY"]) == ("x", "1")


async def test_a_child_whose_start_is_cancelled_does_not_live_on(monkeypatch: pytest.MonkeyPatch) -> None:
    started, processes, popen = asyncio.Event(), list[subprocess.Popen[bytes]](), subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(popen(*args, **options))
        return processes[0]

    async def never(*_: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(asyncio, "to_thread", never)
    starting = asyncio.create_task(Child.start(MODULE, "{}", lambda _: None))
    await started.wait()

    starting.cancel()

    await asyncio.wait([starting])
    assert starting.cancelled()
    assert processes[0].returncode == -signal.SIGKILL
