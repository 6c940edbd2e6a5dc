"""Starts a suite with callers, hurts one model after the other, and notes when the monitor says what."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from penstock.monitor.v1 import drift_service_pb2 as drift_pb
from penstock.monitor.v1 import monitor_service_pb2 as pb
from penstock.monitor.v1.drift_service_pb2_grpc import DriftServiceStub
from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from services.monitor.domain.phases import Cause, Phase, Severity, Signal
from tests.evaluation.live import model
from tests.evaluation.live.callers import Callers
from tests.evaluation.live.faults import LIVE, LiveFault
from tests.evaluation.live.outcome import LiveOutcome, Told
from tests.evaluation.run import SETTLES_S
from tests.evaluation.scenarios import Expected
from tests.support.suite import Suite

RATE = 40.0
"""Requests a second of each model."""
_LEARNT_WITHIN_S = 300


class _Watcher:
    """Incidents as they come, with the moment that they did."""

    def __init__(self, monitor: MonitorServiceStub) -> None:
        self._monitor = monitor
        self._first: dict[str, float] = {}
        self._last: dict[str, pb.Incident] = {}
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        async for update in self._monitor.WatchIncidents(pb.WatchIncidentsRequest()):
            async with self._news:
                self._first.setdefault(update.incident.name, time.monotonic())
                self._last[update.incident.name] = update.incident
                self._news.notify_all()

    def of(self, models: Sequence[str]) -> list[pb.Incident]:
        return [one for one in self._last.values() if one.model in models]

    def came(self, incident: pb.Incident) -> float:
        return self._first[incident.name]

    def now(self, incident: pb.Incident) -> pb.Incident:
        return self._last[incident.name]

    async def first(self, name: str, signals: frozenset[Signal], *, within_s: float) -> pb.Incident | None:
        """Of a model and one of these signals; of another signal if none of these comes in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: any(_signal(one) in signals for one in self.of([name])))
        found = sorted(self.of([name]), key=lambda one: (_signal(one) not in signals, self.came(one)))
        return found[0] if found else None


async def carry_out(*, quiet_s: float, say: Callable[[str], None]) -> LiveOutcome:
    """Takes three minutes to learn, ``quiet_s``, and two minutes of faults or so."""
    with tempfile.TemporaryDirectory() as folder, Suite() as suite:
        for fault in LIVE:
            say(f"deploying {fault.model}")
            path = str(model.save(Path(folder), fault.model, loops=fault.loops))
            options = ("--name", fault.model, "--replicas", str(fault.replicas), "--trust", "--wait")
            await asyncio.to_thread(suite.command, "deploy", path, *options)
        names = [fault.model for fault in LIVE]
        async with (
            grpc.aio.insecure_channel(suite.monitor_address) as channel,
            Callers(suite.grpc_address, names, rate=RATE) as callers,
        ):
            watcher = _Watcher(MonitorServiceStub(channel))
            listening = asyncio.create_task(watcher.listen())
            say("learning what is normal")
            await _learnt(DriftServiceStub(channel), names)
            say(f"watching {quiet_s:.0f} s of ordinary traffic")
            await asyncio.sleep(quiet_s)
            told: list[Told] = []
            wrong = watcher.of(names)
            for number, fault in enumerate(LIVE):
                say(fault.name)
                told.append(await _hurt(fault, suite, callers, watcher))
                wrong += [one for one in watcher.of(names[number + 1 :]) if one not in wrong]
            assert not listening.done(), "the monitor went away"
            listening.cancel()
        severities = [_severity(one) for one in wrong]
        return LiveOutcome(
            told=tuple(told),
            quiet_s=quiet_s,
            requests=callers.requests,
            refused=callers.refused,
            pages=severities.count(Severity.PAGE),
            tickets=severities.count(Severity.TICKET),
            wrong=tuple(one.summary for one in wrong),
        )


async def _learnt(drift: DriftServiceStub, names: Sequence[str]) -> None:
    """Return once all that is watched of the models is known, but rare errors."""
    async with asyncio.timeout(_LEARNT_WITHIN_S):
        for name in names:
            while not await _is_learnt(drift, name):  # noqa: ASYNC110 - asks over the wire
                await asyncio.sleep(1.0)


async def _is_learnt(drift: DriftServiceStub, name: str) -> bool:
    versions = (await drift.ListDrift(drift_pb.ListDriftRequest(model=name))).versions
    figures = [figure for version in versions for figure in version.figures]
    learning = {one.signal for one in figures if one.state == drift_pb.WatchedFigure.STATE_LEARNING}
    return bool(figures) and learning <= {pb.Incident.SIGNAL_ERROR_RATE}


async def _hurt(fault: LiveFault, suite: Suite, callers: Callers, watcher: _Watcher) -> Told:
    began = time.monotonic()
    replica = await asyncio.to_thread(fault.hurt, suite, callers, fault.model)
    incident = await watcher.first(fault.model, fault.expected.signals, within_s=2 * fault.within_s)
    if incident is None:
        return Told(fault.name, fault.within_s)
    after_s = watcher.came(incident) - began
    await asyncio.sleep(SETTLES_S)
    incident = watcher.now(incident)
    return Told(
        fault.name,
        fault.within_s,
        after_s=after_s,
        is_named=_is_named(incident, fault.expected, replica),
        severity=_severity(incident),
        summary=incident.summary,
    )


def _is_named(incident: pb.Incident, expected: Expected, replica: str) -> bool:
    phase = Phase[pb.Phase.Name(incident.phase).removeprefix("PHASE_")] if incident.phase else None
    return (
        _signal(incident) in expected.signals
        and Cause[pb.Incident.Cause.Name(incident.cause).removeprefix("CAUSE_")] is expected.cause
        and phase is expected.phase
        and incident.replica.partition("@")[0] == replica
    )


def _signal(incident: pb.Incident) -> Signal:
    return Signal[pb.Incident.Signal.Name(incident.signal).removeprefix("SIGNAL_")]


def _severity(incident: pb.Incident) -> Severity:
    return Severity[pb.Incident.Severity.Name(incident.severity).removeprefix("SEVERITY_")]
