"""A receiver that fails is left alone for longer and longer, and told everything when it is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

from services.common.errors import FailedPreconditionError, UnavailableError
from services.monitor.adapters.outlet import Outlet
from services.monitor.domain.incidents import Incident
from tests.support.virtual_loop import run
from tests.unit.monitor.test_alerts import INCIDENT


class Receiver:
    """Fails until ``works_from_s`` of the loop's time."""

    kind, address = "alertmanager", "127.0.0.1:9093"

    def __init__(self, *, works_from_s: float, every_s: float | None, refuses: bool = False) -> None:
        self.every_s = every_s
        self.results: Counter[str] = Counter()
        self.taken: list[Incident] = []
        self.attempts: list[float] = []
        self.refuses = refuses
        self._works_from_s = works_from_s

    def __len__(self) -> int:
        return len(self.taken)

    def take(self, incident: Incident) -> None:
        self.taken.append(incident)

    async def tell(self) -> None:
        now = asyncio.get_running_loop().time()
        self.attempts.append(now)
        if now < self._works_from_s:
            raise UnavailableError("it is away")
        self.taken.clear()
        if self.refuses:
            raise FailedPreconditionError("it knows no such token")


async def once_then_nothing(incident: Incident = INCIDENT) -> AsyncGenerator[Incident]:
    yield incident
    await asyncio.Event().wait()


async def run_for(seconds: float, outlet: Outlet) -> None:
    running = asyncio.create_task(outlet.run(once_then_nothing))
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.wait([running])


def test_attempts_come_at_pauses_that_double_up_to_half_a_minute() -> None:
    receiver = Receiver(works_from_s=1e9, every_s=None)
    outlet = Outlet(receiver)

    async def scenario() -> float:
        begin = asyncio.get_running_loop().time()
        await run_for(130.0, outlet)
        return begin

    begin = run(scenario())
    assert [round(at - begin) for at in receiver.attempts] == [0, 1, 3, 7, 15, 31, 61, 91, 121]
    assert (outlet.is_up, len(receiver)) == (False, 1)


def test_a_receiver_that_is_back_is_told_what_was_kept() -> None:
    async def scenario() -> tuple[bool, int]:
        receiver = Receiver(works_from_s=asyncio.get_running_loop().time() + 20.0, every_s=None)
        outlet = Outlet(receiver)
        await run_for(40.0, outlet)
        return outlet.is_up, len(receiver)

    assert run(scenario()) == (True, 0)


def test_what_goes_on_is_told_again_every_period() -> None:
    receiver = Receiver(works_from_s=0.0, every_s=60.0)

    async def scenario() -> None:
        await run_for(190.0, Outlet(receiver))

    run(scenario())
    first, *rest = receiver.attempts
    assert [round(at - first) for at in rest] == [60, 120, 180]


def test_a_receiver_that_refuses_is_down_and_asked_again_with_the_next_period() -> None:
    receiver = Receiver(works_from_s=0.0, every_s=60.0, refuses=True)
    outlet = Outlet(receiver)

    async def scenario() -> list[bool]:
        await run_for(70.0, outlet)
        seen = [outlet.is_up]
        receiver.refuses = False
        await run_for(70.0, outlet)
        return [*seen, outlet.is_up]

    assert run(scenario()) == [False, True]
    first, *rest = receiver.attempts
    assert [round(at - first) for at in rest] == [60, 70, 130]


def test_an_outlet_ends_with_the_watch_that_it_follows() -> None:
    async def watch() -> AsyncGenerator[Incident]:
        yield INCIDENT
        raise UnavailableError("the monitor stops")

    async def scenario() -> None:
        async with asyncio.timeout(1):
            await Outlet(Receiver(works_from_s=0.0, every_s=60.0)).run(watch)

    run(scenario())
