"""Round after round: each fault once, on a stage that stays up, under load."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Protocol

import grpc
import psutil
from redis.exceptions import RedisError

from penstock.errors import PenstockError
from tests.chaos.calls import Call, Verdict
from tests.chaos.fault import Fault
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.repetition import Moments, Repetition, figures
from tests.chaos.stage import NotWholeError, Stage
from tests.chaos.stages import STAGES

_USUAL_S = 0.7
"""How long the load is watched before the fault."""
_SETTLED_S = 0.5
"""How long it is watched when everything is as before."""
_LONGEST_S = 120.0
_BACK = 0.8
"""The share of the usual answers a second at which they are back."""
DEADLINE_S = 20.0
"""Of every request: longer than the recovery from any fault here."""
FAILURES = (
    NotWholeError, TimeoutError, OSError, LookupError, AssertionError,
    PenstockError, RedisError, grpc.RpcError, psutil.Error, subprocess.SubprocessError,
)  # fmt: skip
"""What may go wrong in breaking, mending and looking; all else is a mistake of this program and ends it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: ``repetitions`` of each fault, counted with those that the journal has."""

    faults: Sequence[type[Fault]]
    repetitions: int
    seed: int
    version: str
    within_s: float
    """No repetition begins later than that."""


class Progress(Protocol):
    """Hears what happens."""

    def stage_opens(self, stage: type[Stage]) -> None: ...
    def begins(self, fault: type[Fault], number: int) -> None: ...
    def ended(self, repetition: Repetition) -> None: ...


async def carry_out(order: Order, journal: Journal, progress: Progress) -> None:
    """Run what is missing; whatever ends this, everything that was started is stopped."""
    end = time.monotonic() + order.within_s
    for name, kind in STAGES.items():
        missing = [
            (number, fault)
            for number in range(1, order.repetitions + 1)
            for fault in order.faults
            if fault.stage == name and len(journal.of(fault.name)) < number
        ]
        while missing and time.monotonic() < end:
            progress.stage_opens(kind)
            missing = await _on_one_stage(kind, missing, order, journal, progress, end=end)


async def _on_one_stage(
    kind: type[Stage],
    missing: Sequence[tuple[int, type[Fault]]],
    order: Order,
    journal: Journal,
    progress: Progress,
    *,
    end: float,
) -> list[tuple[int, type[Fault]]]:
    """Repeat until all is done, or until the stage has to be made anew; returns what is left."""
    left = list(missing)
    stage = kind()
    try:
        await stage.open()
        async with Load(stage.fronts, deadline_s=DEADLINE_S) as load:
            while left and time.monotonic() < end:
                number, fault = left.pop(0)
                progress.begins(fault, number)
                repetition = await _one(
                    fault(Random(f"{order.seed} {fault.name} {number}")), number, stage, load, order
                )
                journal.add(repetition)
                progress.ended(repetition)
                if repetition.skipped:
                    left = [one for one in left if one[1] is not fault]
                if repetition.failure:
                    break
    finally:
        await stage.close()
    return left


async def _one(fault: Fault, number: int, stage: Stage, load: Load, order: Order) -> Repetition:
    result = Repetition(fault.name, number, datetime.now(UTC).isoformat(timespec="seconds"), order.version)
    if why := fault.obstacle(stage):
        return replace(result, skipped=why)
    try:
        await fault.prepare(stage)
    except FAILURES as error:
        return replace(result, failure=f"before it: {error!r}")
    await load.spread()
    async with load.on(fault.model) as calls:
        watch = _Watch(calls)
        failure = await watch.see(fault, stage)
    found = figures(calls, type(fault), watch.moments)
    if fault.took_s is not None:
        found["recovery_s"] = round(fault.took_s, 3)
    return replace(result, failure=failure or fault.complaint(), **found)


class _Watch:
    """One fault from before it until all is as before."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        now = time.monotonic()
        self.moments = Moments(now, now + _USUAL_S, now + _USUAL_S)

    async def see(self, fault: Fault, stage: Stage) -> str:
        """Break, mend, and wait; returns why that could not be done, if so."""
        await asyncio.sleep(_USUAL_S)
        struck = time.monotonic()
        failure = ""
        try:
            async with asyncio.timeout(_LONGEST_S):
                try:
                    await fault.strike(stage)
                    await asyncio.sleep(fault.lasts_s)
                finally:
                    await fault.mend(stage)
                await fault.healed(stage)
                await self._answers_are_back(usual=self._rate(_USUAL_S, struck))
                await asyncio.sleep(_SETTLED_S)
        except FAILURES as error:
            failure = f"{type(error).__name__}: {error}"
        self.moments = Moments(self.moments.began, struck, time.monotonic())
        return failure

    async def _answers_are_back(self, *, usual: float) -> None:
        while self._rate(_SETTLED_S, time.monotonic()) < usual * _BACK:  # noqa: ASYNC110 - callers append to a list
            await asyncio.sleep(0.05)

    def _rate(self, seconds: float, until: float) -> float:
        """Right answers a second just before a moment."""
        recent = itertools.takewhile(lambda call: call.sent > until - _LONGEST_S, reversed(self._calls))
        ended = (call.ended for call in recent if call.verdict is Verdict.RIGHT and call.ended is not None)
        return sum(until - seconds <= end < until for end in ended) / seconds
