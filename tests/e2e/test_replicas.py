"""Two replicas serve a model; one of them limps, dies or hangs, and the monitor names that one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from penstock.monitor.v1 import drift_service_pb2 as drift_pb
from penstock.monitor.v1 import monitor_service_pb2 as pb
from penstock.monitor.v1.drift_service_pb2_grpc import DriftServiceStub
from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from penstock.registry.v1 import registry_service_pb2 as registry_pb
from tests.support import models
from tests.support.suite import Suite, wait_until

_TAKES_S = 0.006
"""What a batch takes, so that one that limps can't do it between two stops."""
_TRIED_LOOPS, _TRIALS = 5_000, 20
_CLIENTS = 4
_PAUSE_S = 0.12
_STOPPED_S, _RUNNING_S, _MOST_STEPS = 0.016, 0.004, 10_000


@dataclass(frozen=True)
class Victim:
    """The replica that is hurt, as the system and as the monitor knows it, and its sibling."""

    pid: int
    replica: str
    sibling: str


def _model(folder: Path) -> Path:
    """A model that takes that long on this machine."""
    tried = onnxruntime.InferenceSession(models.slow_onnx(folder / "tried.onnx", loops=_TRIED_LOOPS))
    rows, seconds = {"INPUT0": np.zeros((1, 16), np.float32)}, []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        tried.run(None, rows)
        seconds.append(time.perf_counter() - began)
    loops = round(_TRIED_LOOPS * _TAKES_S / statistics.median(seconds))
    return models.slow_onnx(folder / "slow.onnx", loops=loops)


async def _ask(client: triton.InferenceServerClient, model: str, random: np.random.Generator) -> None:
    while True:
        tensor = triton.InferInput("INPUT0", [1, 16], "FP32")
        tensor.set_data_from_numpy(random.normal(size=(1, 16)).astype(np.float32))
        with contextlib.suppress(InferenceServerException):  # those that a hurt replica has in hand
            await client.infer(model, [tensor], client_timeout=3.0)
        await asyncio.sleep(_PAUSE_S)


@contextlib.asynccontextmanager
async def _traffic(suite: Suite, names: list[str]) -> AsyncIterator[None]:
    async with triton.InferenceServerClient(suite.grpc_address) as client:
        asking = [
            asyncio.create_task(_ask(client, model, np.random.default_rng(number)))
            for model in names
            for number in range(_CLIENTS)
        ]
        try:
            yield
            assert not any(task.done() for task in asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


async def _limp(pid: int) -> None:
    """Stop a process for four fifths of the time, until this is cancelled or for three minutes or so."""
    try:
        for _ in range(_MOST_STEPS):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(_STOPPED_S)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(_RUNNING_S)
    finally:
        _signal(pid, signal.SIGCONT)


async def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def _hang(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


FAULTS: dict[str, tuple[Callable[[int], Awaitable[None]], frozenset[pb.Incident.Signal]]] = {
    "limping": (_limp, frozenset({pb.Incident.SIGNAL_LATENCY})),
    "killed": (_kill, frozenset({pb.Incident.SIGNAL_DEAD})),
    "hanging": (_hang, frozenset({pb.Incident.SIGNAL_DEAD, pb.Incident.SIGNAL_STUCK})),
}


async def _learnt(drift: DriftServiceStub, model: str) -> list[str]:
    """Replicas of a model, once all that is watched of it is known but rare errors; none before."""
    versions = (await drift.ListDrift(drift_pb.ListDriftRequest(model=model))).versions
    figures = [figure for version in versions for figure in version.figures]
    replicas = [figure.replica for figure in figures if figure.replica]
    learning = {one.signal for one in figures if one.state == drift_pb.WatchedFigure.STATE_LEARNING}
    return replicas if len(replicas) == 2 and learning <= {pb.Incident.SIGNAL_ERROR_RATE} else []


def _victim(suite: Suite, model: str, replicas: list[str]) -> Victim:
    answer = suite.registry.GetDeployment(registry_pb.GetDeploymentRequest(name=f"deployments/{model}"))
    one, other = answer.deployment.instances
    names = {replica.partition("@")[0]: replica for replica in replicas}
    return Victim(one.pid, names[one.instance], names[other.instance])


async def _named(
    monitor: MonitorServiceStub, model: str, signals: frozenset[pb.Incident.Signal] = frozenset()
) -> list[pb.Incident]:
    """Open incidents of a model that name a replica, of some signals or of all."""
    found = await monitor.ListIncidents(pb.ListIncidentsRequest(model=model, is_open=True))
    return [one for one in found.incidents if one.replica and (not signals or one.signal in signals)]


async def _eventually(ask: Callable[[], Awaitable[list[Any]]], *, within_s: float) -> list[Any]:
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):  # noqa: ASYNC110 - asks over the wire
            await asyncio.sleep(0.5)
        return answer


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_replica_that_is_hurt_is_named(suite: Suite, tmp_path: Path) -> None:
    path = str(_model(tmp_path))
    for model in FAULTS:
        suite.command("deploy", path, "--name", model, "--replicas", "2", "--wait")
        wait_until(lambda model=model: len(suite.model_pids(model)) == 2)
    async with (
        grpc.aio.insecure_channel(suite.monitor_address) as channel,
        _traffic(suite, list(FAULTS)),
    ):
        drift, monitor = DriftServiceStub(channel), MonitorServiceStub(channel)
        victims = {}
        for model in FAULTS:
            replicas = await _eventually(lambda model=model: _learnt(drift, model), within_s=240)
            assert await _named(monitor, model) == [], "nobody is hurt yet"
            victims[model] = await asyncio.to_thread(_victim, suite, model, replicas)
        hurting = [asyncio.ensure_future(hurt(victims[model].pid)) for model, (hurt, _) in FAULTS.items()]
        try:
            for model, (_, signals) in FAULTS.items():
                (incident,) = await _eventually(
                    lambda model=model, signals=signals: _named(monitor, model, signals), within_s=120
                )
                assert incident.replica == victims[model].replica, incident.summary
                assert incident.cause == pb.Incident.CAUSE_REPLICA
                accused = {one.replica for one in await _named(monitor, model)}
                assert victims[model].sibling not in accused
        finally:
            for task in hurting:
                task.cancel()
            await asyncio.gather(*hurting, return_exceptions=True)
            for victim in victims.values():
                _signal(victim.pid, signal.SIGCONT)
    shown = suite.command("drift", "limping")
    assert {figure["replica"] for figure in shown[0]["figures"]} >= {victims["limping"].replica}
    for model in FAULTS:
        suite.command("undeploy", model)
