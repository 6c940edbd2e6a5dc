"""A bounded load whose answers are known: every request has a number of its own, and its answer must repeat it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from tests.chaos.callers import Caller, Fronts, GrpcCaller, RefusedError, RestCaller
from tests.chaos.calls import Call, Verdict, judge, question

SMALL, LARGE = 16, 2**18
"""Numbers in a row; a large one is 1 MiB, which doesn't go through Redis."""
_MARGIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Mix:
    """Who asks, and how often: each caller again so many seconds after its last request, or once that is answered.

    The pace is slow beside what an answer takes, so that fewer answers come only when some callers wait for long.
    """

    grpc: int = 40
    rest: int = 20
    large: int = 1
    pace_s: float = 0.5
    large_pace_s: float = 0.5


@dataclass(frozen=True, slots=True)
class _Role:
    caller: Caller
    width: int
    pace_s: float


class Load:
    """Callers with open connections; they ask while the body of :meth:`on` runs."""

    def __init__(self, fronts: Fronts, *, deadline_s: float, mix: Mix | None = None) -> None:
        self.deadline_s = deadline_s
        self._fronts = fronts
        self._mix = mix or Mix()
        self._roles: list[_Role] = []
        self._numbers = itertools.count(1)
        self._random = Random(0)
        self._answered: set[int] = set()

    async def __aenter__(self) -> Self:
        self._connect()
        return self

    async def spread(self) -> None:
        """Connect anew: whose gateway process was away stays with another one for good."""
        await self._disconnect()
        self._connect()

    def _connect(self) -> None:
        mix, places = self._mix, itertools.count()

        def grpc() -> GrpcCaller:
            return GrpcCaller(self._fronts.beginning_at(next(places)), deadline_s=self.deadline_s)

        def rest() -> RestCaller:
            return RestCaller(self._fronts.beginning_at(next(places)), deadline_s=self.deadline_s)

        self._roles = [
            *(_Role(grpc(), SMALL, mix.pace_s) for _ in range(mix.grpc)),
            *(_Role(rest(), SMALL, mix.pace_s) for _ in range(mix.rest)),
            *(_Role(grpc(), LARGE, mix.large_pace_s) for _ in range(mix.large)),
        ]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._disconnect()

    async def _disconnect(self) -> None:
        for role in self._roles:
            await role.caller.close()
        self._roles = []

    @contextlib.asynccontextmanager
    async def on(self, model: str) -> AsyncIterator[Sequence[Call]]:
        """Ask a model while the body runs; on leaving, wait until every request has its outcome, or is LOST."""
        calls: list[Call] = []
        stop = asyncio.Event()
        delays = [role.pace_s * place / len(self._roles) for place, role in enumerate(self._roles)]
        asking = [
            asyncio.create_task(self._keep_asking(role, model, calls, stop=stop, delay_s=delay_s))
            for role, delay_s in zip(self._roles, delays, strict=True)
        ]
        try:
            yield calls
            stop.set()
            await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _keep_asking(
        self, role: _Role, model: str, calls: list[Call], *, stop: asyncio.Event, delay_s: float
    ) -> None:
        while not stop.is_set():
            await _pause(stop, delay_s)
            if stop.is_set():
                return
            call = Call(next(self._numbers), role.caller.name, time.monotonic())
            calls.append(call)
            await self._ask(role, model, call)
            pace_s = role.pace_s * self._random.uniform(0.5, 1.5)  # lest they all ask at once, ever after
            delay_s = max(0.0, call.sent + pace_s - time.monotonic())

    async def _ask(self, role: _Role, model: str, call: Call) -> None:
        try:
            async with asyncio.timeout(self.deadline_s + _MARGIN_S):
                answer = await role.caller.ask(model, question(call.number, role.width))
        except TimeoutError:
            call.verdict, call.status = Verdict.LOST, "no outcome"
        except RefusedError as error:
            # Whatever a server says of a request whose time is over: there was no answer in time.
            is_late = time.monotonic() - call.sent > self.deadline_s - 0.5
            call.verdict = Verdict.LOST if is_late else Verdict.REFUSED
            call.status, call.detail = error.status, error.detail
        else:
            call.verdict = judge(call.number, answer, self._answered)
            self._answered.add(call.number)
        call.ended = time.monotonic()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
