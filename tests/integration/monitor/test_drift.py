"""A monitor is asked how far what it watches is from what is normal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from penstock import Client
from penstock.cli import app
from penstock.monitor.v1 import drift_service_pb2 as pb
from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1.drift_service_pb2_grpc import DriftServiceStub
from tests.support.monitor_process import RunningMonitor

Ask = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def test_figures_are_watched_once_learnt(running: RunningMonitor, eventually: Ask) -> None:
    drift = DriftServiceStub(running.api_channel)
    assert not (await drift.ListDrift(pb.ListDriftRequest())).versions

    await running.serve_seconds(8)
    (version,) = await eventually(lambda: _versions(drift))
    assert {one.state for one in version.figures} == {pb.WatchedFigure.STATE_LEARNING}

    await running.serve_seconds(56)

    async def watching() -> pb.VersionDrift | None:
        (found,) = await _versions(drift)
        infer = _infer(found)
        return found if infer.state == pb.WatchedFigure.STATE_WATCHING else None

    version = await eventually(watching)
    infer = _infer(version)
    assert (version.model, version.version, version.arm, version.window.seconds) == ("digits", "1", "stable", 60)
    assert (infer.unit, infer.normal.value) == ("s", pytest.approx(0.005, rel=0.1))
    assert infer.now.value == pytest.approx(infer.normal.value)
    assert 0 <= max(infer.log_evalue, 0) < infer.log_evalue_needed
    assert infer.learnt_duration.seconds == infer.needed_duration.seconds == 30


async def _versions(drift: DriftServiceStub, **asked: Any) -> list[pb.VersionDrift]:
    return list((await drift.ListDrift(pb.ListDriftRequest(**asked))).versions)


def _infer(version: pb.VersionDrift) -> pb.WatchedFigure:
    (found,) = [one for one in version.figures if one.phase == monitor_pb.PHASE_COMPUTE_INFER]
    return found


async def test_the_command_shows_what_the_client_is_told(running: RunningMonitor, eventually: Ask) -> None:
    for model in ("digits", "faces"):
        await running.serve_seconds(1, model=model)
    drift = DriftServiceStub(running.api_channel)
    await eventually(lambda: _versions(drift, model="faces"))
    address = f"127.0.0.1:{running.ports.api}"

    def ask() -> tuple[list[pb.VersionDrift], str, str]:
        with Client(monitor=address) as client:
            told = client.drift(model="faces")
        command = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"})
        shown = [command.invoke(app, ["drift", "faces", "--monitor", address, *more]) for more in ([], ["--json"])]
        assert [one.exit_code for one in shown] == [0, 0]
        return told, *(one.output for one in shown)

    (version,), text, printed = await asyncio.to_thread(ask)
    assert version.model == "faces"
    (parsed,) = json.loads(printed)
    assert (parsed["model"], parsed["window"]) == ("faces", "60s")
    assert {one["state"] for one in parsed["figures"]} == {"STATE_LEARNING"}
    assert "digits" not in text
    assert "faces 1" in text


async def test_versions_come_in_pages(running: RunningMonitor, eventually: Ask) -> None:
    drift = DriftServiceStub(running.api_channel)
    for version in ("1", "2", "3"):
        await running.serve_seconds(1, version=version)
    await running.serve_seconds(1, model="faces")

    async def all_there() -> bool:
        return len(await _versions(drift)) == 4

    await eventually(all_there)
    names, token = [], ""
    while True:
        answer = await drift.ListDrift(pb.ListDriftRequest(model="digits", page_size=2, page_token=token))
        names.append([one.version for one in answer.versions])
        token = answer.next_page_token
        if not token:
            break
    assert names == [["1", "2"], ["3"]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "no/such model"}, "no/such model"),
        ({"page_size": -1}, "got page_size -1"),
        ({"page_size": 1_001}, "expected 0 to 1000"),
        ({"page_token": "bm9uZQ=="}, "page_token"),
    ],
)
async def test_what_can_not_be_asked_is_refused(running: RunningMonitor, asked: dict[str, Any], said: str) -> None:
    drift = DriftServiceStub(running.api_channel)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await drift.ListDrift(pb.ListDriftRequest(**asked))
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in (raised.value.details() or "")
