"""The course of a soak: load and faults for a long time, between two quiet ones in which everything is counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos.callers import CONNECTION_LOST
from tests.chaos.calls import Call, Verdict
from tests.chaos.fault import Fault
from tests.chaos.faults.changes import Deploy
from tests.chaos.faults.clients import DeafClients, LeavingClients
from tests.chaos.faults.processes import PROCESS_FAULTS
from tests.chaos.faults.shortages import RedisOutOfMemory
from tests.chaos.load import Load, Mix
from tests.chaos.run import DEADLINE_S, FAILURES
from tests.chaos.soak.census import Census, take
from tests.chaos.stage import LONE, STEADY, Stage

FAULTS: tuple[type[Fault], ...] = (*PROCESS_FAULTS, RedisOutOfMemory, LeavingClients, DeafClients, Deploy)
_EXCUSED = frozenset({"UNAVAILABLE", CONNECTION_LOST})
"""Some of the faults excuse these; which call met which fault is not asked here."""
_SAMPLE_EVERY_S = 5.0
_MIXES = {STEADY: Mix(grpc=24, rest=12, large=2), LONE: Mix(grpc=12, rest=8, large=0)}


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes, in seconds. A gateway forgets who left a minute after that."""

    warm_up_s: float = 60.0
    load_s: float = 1_800.0
    fault_every_s: float = 30.0
    quiet_s: float = 75.0


@dataclass(slots=True)
class Findings:
    """What a soak found."""

    before: Census = field(default_factory=dict)
    samples: list[tuple[float, Census]] = field(default_factory=list)
    after: Census = field(default_factory=dict)
    faults: list[tuple[float, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    new_versions: int = 0

    @property
    def is_served_well(self) -> bool:
        """Whether every request came to an outcome that some fault excuses."""
        bad = (Verdict.WRONG, Verdict.DUPLICATE, Verdict.LOST, Verdict.OPEN)
        return not (self.failures or any(self.verdicts[one] for one in bad) or set(self.refusals) - _EXCUSED)


class Soak:
    """One soak on an open stage. ``say`` hears of each step."""

    def __init__(self, stage: Stage, plan: Plan, *, random: Random, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._plan = plan
        self._random = random
        self._say = say
        self.findings = Findings()

    async def run(self) -> Findings:
        """From the first count to the last."""
        plan = self._plan
        self._say("warming up")
        await self._under_load(lambda: asyncio.sleep(plan.warm_up_s))
        self._say("quiet before it")
        await asyncio.sleep(plan.quiet_s)
        self.findings = Findings(before=await asyncio.to_thread(take, self._stage))
        await self._under_load(self._break_things)
        self._say("quiet after it")
        await asyncio.sleep(plan.quiet_s)
        await self._stage.whole()
        self.findings.after = await asyncio.to_thread(take, self._stage)
        return self.findings

    async def _under_load(self, during: Callable[[], Awaitable[None]]) -> None:
        sampling = asyncio.create_task(self._sample())
        try:
            async with contextlib.AsyncExitStack() as stack:
                for model, mix in _MIXES.items():
                    await stack.enter_async_context(self._asking(model, mix))
                await during()
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _asking(self, model: str, mix: Mix) -> AsyncIterator[None]:
        async with Load(self._stage.fronts, deadline_s=DEADLINE_S, mix=mix) as load:
            async with load.on(model) as calls:
                yield
            self._count(calls)

    def _count(self, calls: Sequence[Call]) -> None:
        self.findings.verdicts.update(call.verdict for call in calls)
        self.findings.refusals.update(call.status for call in calls if call.verdict is Verdict.REFUSED)

    async def _sample(self) -> None:
        start = time.monotonic()
        while True:
            await asyncio.sleep(_SAMPLE_EVERY_S)
            with contextlib.suppress(*FAILURES):  # Redis may be away
                census = await asyncio.to_thread(take, self._stage)
                self.findings.samples.append((time.monotonic() - start, census))

    async def _break_things(self) -> None:
        plan, start = self._plan, time.monotonic()
        for kind in itertools.cycle(self._random.sample(FAULTS, len(FAULTS))):
            due = start + plan.fault_every_s * (len(self.findings.faults) + 1)
            if due > start + plan.load_s:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._say(f"{time.monotonic() - start:.0f} of {plan.load_s:.0f} s: {kind.name}")
            self.findings.faults.append((time.monotonic() - start, kind.name))
            await self._break(kind(Random(self._random.random())))
        await asyncio.sleep(max(0.0, start + plan.load_s - time.monotonic()))

    async def _break(self, fault: Fault) -> None:
        if fault.obstacle(self._stage):
            return
        self.findings.new_versions += isinstance(fault, Deploy)
        try:
            await fault.prepare(self._stage)
            try:
                await fault.strike(self._stage)
                await asyncio.sleep(fault.lasts_s)
            finally:
                await fault.mend(self._stage)
            await fault.healed(self._stage)
        except FAILURES as error:
            self.findings.failures.append(f"{fault.name}: {type(error).__name__}: {error}")
