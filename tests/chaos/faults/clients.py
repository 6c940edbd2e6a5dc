"""Clients that behave badly, beside those whose answers are counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from random import Random

from tests.chaos.callers import Fronts, GrpcCaller, RefusedError, RestCaller
from tests.chaos.calls import POISON, Verdict, judge, question
from tests.chaos.fault import Fault
from tests.chaos.load import LARGE, SMALL
from tests.chaos.stage import Stage
from tests.support.tcp_proxy import TcpProxy

_MISBEHAVE_S = 2.5
_DEADLINE_S = 20.0
_UNHEARD = 10
"""Large answers for each deaf client: more than a connection may have unread."""
_FIRST = 2**31
"""Numbers from here on are not those of the load."""


class PoisonRequest(Fault):
    """A request that kills whoever runs it; it is to be given up, and those beside it are to be answered."""

    name = "poison"
    breaks = "a request kills each process that runs it"
    promise = "latency for those beside it; INTERNAL for the request itself after three attempts"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._answer: asyncio.Task[str] | None = None
        self._complaint = ""

    async def strike(self, stage: Stage) -> None:
        self._answer = asyncio.create_task(self._ask(stage))

    async def _ask(self, stage: Stage) -> str:
        row = question(_FIRST, SMALL)
        row[0, 0] = POISON
        caller = GrpcCaller(stage.fronts, deadline_s=60.0)
        try:
            await caller.ask(self.model, row)
        except RefusedError as error:
            return error.status
        finally:
            await caller.close()
        return "an answer"

    async def healed(self, stage: Stage) -> None:
        assert self._answer is not None
        if (status := await self._answer) != "INTERNAL":
            self._complaint = f"the poison request got {status}, expected INTERNAL"
        await stage.whole()

    def complaint(self) -> str:
        return self._complaint


class LeavingClients(Fault):
    """Calls that are cancelled and connections that are reset, at any moment, by the hundred."""

    name = "leaving-client"
    breaks = "clients leave in the middle of their requests"
    promise = "nothing, for the others"
    lasts_s = _MISBEHAVE_S

    async def prepare(self, stage: Stage) -> None:
        self._leavers = asyncio.create_task(asyncio.sleep(0))

    async def strike(self, stage: Stage) -> None:
        self._leavers = asyncio.create_task(self._come_and_go(stage))

    async def mend(self, stage: Stage) -> None:
        self._leavers.cancel()
        await asyncio.gather(self._leavers, return_exceptions=True)

    async def _come_and_go(self, stage: Stage) -> None:
        grpc, rest = stage.fronts.grpc[0], stage.fronts.http[0]
        async with TcpProxy(grpc) as grpc_way, TcpProxy(rest) as rest_way, asyncio.TaskGroup() as group:
            through = Fronts([grpc_way.address], [rest_way.address])
            group.create_task(self._reset_now_and_then(grpc_way, rest_way))
            for place in range(8):
                group.create_task(self._leave_again_and_again(stage.fronts if place % 2 else through, place))

    async def _reset_now_and_then(self, *ways: TcpProxy) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0.02, 0.2))
            await self.random.choice(ways).reset()

    async def _leave_again_and_again(self, fronts: Fronts, place: int) -> None:
        kind = RestCaller if place % 4 == 3 else GrpcCaller
        caller = kind(fronts, deadline_s=_DEADLINE_S)
        try:
            for number in itertools.count(_FIRST + place * 2**20):
                width = LARGE if place == 0 else SMALL
                with contextlib.suppress(TimeoutError, RefusedError):
                    async with asyncio.timeout(self.random.uniform(0.0, 0.02)):
                        await caller.ask(self.model, question(number, width))
                await asyncio.sleep(self.random.uniform(0.0, 0.3))
        finally:
            await caller.close()


class DeafClients(Fault):
    """Clients that send large requests and read no answer, until the gateway has no place to put them."""

    name = "deaf-client"
    breaks = "clients never read their answers"
    promise = "nothing, for the others"
    lasts_s = _MISBEHAVE_S

    async def prepare(self, stage: Stage) -> None:
        self._deaf = asyncio.create_task(asyncio.sleep(0))

    async def strike(self, stage: Stage) -> None:
        self._deaf = asyncio.create_task(self._ask_and_hear_nothing(stage))

    async def mend(self, stage: Stage) -> None:
        self._deaf.cancel()
        await asyncio.gather(self._deaf, return_exceptions=True)

    async def _ask_and_hear_nothing(self, stage: Stage) -> None:
        async with TcpProxy(stage.fronts.grpc[0]) as way:
            callers = [GrpcCaller(Fronts([way.address], []), deadline_s=_DEADLINE_S) for _ in range(4)]
            try:
                for caller in callers:  # they are connected before the way back is closed
                    row = question(_FIRST, SMALL)
                    assert judge(_FIRST, await caller.ask(self.model, row), ()) is Verdict.RIGHT
                way.down.stall()
                row = question(_FIRST, LARGE)
                asking = []
                for caller in callers * _UNHEARD:
                    asking.append(asyncio.create_task(caller.ask(self.model, row)))
                    await asyncio.sleep(0.05)
                await asyncio.gather(*asking, return_exceptions=True)
            finally:
                for caller in callers:
                    await caller.close()


CLIENT_FAULTS: tuple[type[Fault], ...] = (PoisonRequest, LeavingClients, DeafClients)
