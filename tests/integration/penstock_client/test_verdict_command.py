"""``penstock verdict``, asked of a monitor."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from penstock.monitor.v1 import verdict_service_pb2 as pb
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub
from services.monitor.domain.blocks import NS
from tests.support import commands
from tests.support.monitor_process import Clock, RunningMonitor, batch_span, monitor
from tests.support.ports import free_port
from tests.support.waiting import until

PAIR = ("digits", "2", "1")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningMonitor]:
    async with monitor(tmp_path) as one:
        yield one


async def ask(port: int, *words: str) -> CompletedProcess[str]:
    arguments = ("verdict", *words, "--monitor", f"127.0.0.1:{port}", "--json")
    return await asyncio.to_thread(commands.run, os.environ, *arguments)


async def answer(port: int, *words: str) -> Any:
    done = await ask(port, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def is_begun(running: RunningMonitor) -> bool:
    listed = await VerdictServiceStub(running.api_channel).ListComparisons(pb.ListComparisonsRequest())
    return bool(listed.comparisons)


async def serve(running: RunningMonitor, *, candidate_status: int) -> None:
    """Both versions answer for five seconds: 5 requests a second of the candidate, 15 of the baseline."""
    for _ in range(5):
        running.clock.skip(1)
        at_ns = running.clock()
        spans = [batch_span(end_ns=at_ns - n * NS // 50, version="2", status=(candidate_status,)) for n in range(5)]
        spans += [batch_span(end_ns=at_ns - n * NS // 50, version="1", status=(0,)) for n in range(15)]
        await running.send(*spans)
        await asyncio.sleep(0.02)


async def test_looking_begins_a_comparison_only_where_there_was_none(running: RunningMonitor) -> None:
    port = running.ports.api
    begun = await answer(port, *PAIR, "--weight", "0.25")
    assert (await answer(port, *PAIR))["name"] == begun["name"]

    assert (await answer(port, *PAIR, "--stop"))["decision"] == "DECISION_HOLD"
    over = await answer(port, *PAIR)
    assert (over["name"], over["is_final"]) == (begun["name"], True)
    assert over["evidence"]

    anew = await answer(port, *PAIR, "--new")
    assert anew["name"] != begun["name"]
    assert [one["name"] for one in await answer(port)] == [anew["name"], begun["name"]]
    assert await answer(port, "letters") == []


async def test_a_version_that_nothing_was_seen_of_is_named(running: RunningMonitor) -> None:
    await serve(running, candidate_status=0)

    done = await ask(running.ports.api, "digits", "3", "1")

    assert (done.returncode, "digits 3 had no requests" in done.stderr) == (0, True)
    assert (await ask(running.ports.api, *PAIR)).stderr == ""


async def test_options_of_another_comparison_are_refused(running: RunningMonitor) -> None:
    port = running.ports.api
    await answer(port, *PAIR, "--weight", "0.25", "--seconds", "30.5")

    same = await answer(port, *PAIR, "--weight", "0.25", "--for", "3600", "--seconds", "30.5", "--alpha", "0.01")
    assert same["weight"] == 0.25
    for words in (("--weight", "0.5"), ("--for", "60"), ("--shadow",), ("--requests", "7"), ("--alpha", "0.05")):
        other = await ask(port, *PAIR, *words)
        assert (other.returncode, words[0] in other.stderr, "--new" in other.stderr) == (2, True, True)


async def test_only_what_is_under_way_can_be_stopped(running: RunningMonitor) -> None:
    done = await ask(running.ports.api, *PAIR, "--stop")

    assert (done.returncode, "no comparison of digits 2 with 1 is under way" in done.stderr) == (1, True)


async def test_a_held_comparison_has_a_status_of_its_own(running: RunningMonitor) -> None:
    await answer(running.ports.api, *PAIR)
    await answer(running.ports.api, *PAIR, "--stop")

    assert (await ask(running.ports.api, *PAIR, "--wait")).returncode == 4


@pytest.mark.timeout(120)
async def test_waiting_outlives_a_restart_of_the_monitor_and_ends_with_the_verdict(tmp_path: Path) -> None:
    clock, port = Clock(), free_port()
    async with monitor(tmp_path, clock=clock, port=port) as first:
        waiting = asyncio.create_task(ask(port, *PAIR, "--weight", "0.25", "--wait"))
        await until(lambda: is_begun(first))
    async with monitor(tmp_path, clock=clock, port=port) as second:
        while not waiting.done():
            await serve(second, candidate_status=13)
            await asyncio.sleep(0.5)
        done = await waiting

    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["restart_count"] == 1
