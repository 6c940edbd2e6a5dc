"""When a part that died is started again, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from penstock.launcher.children import Child
from penstock.launcher.keeper import Keeper
from penstock.launcher.logfiles import ServiceLog
from penstock.launcher.parts import Part
from tests.support import virtual_loop


class FakeChild(Child):
    """Leaves when it is asked to."""

    def signal(self, number: int) -> None:
        if not self.exited.done():
            self.exited.set_result(0)

    def count_processes(self) -> int:
        return 1


class Witness:
    """Starts children that are none, and hears what the keeper reports."""

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.pauses: list[float] = []

    def start(self, _command: object, **_options: object) -> Child:
        self.children.append(FakeChild(0, asyncio.get_running_loop().create_future()))
        return self.children[-1]

    def died(self, _part: Part, *, restart_in_s: float, **_how: object) -> None:
        self.pauses.append(restart_in_s)

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments, **_options: None


async def _is_ready() -> bool:
    return True


@pytest.mark.parametrize(
    ("events", "pauses"),
    [
        ("die die die die die die die die", [0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]),
        ("die die live die die live die", [0.0, 0.2, 0.0, 0.2, 0.0]),
        ("die die live restart die die live restart die", [0.0, 0.2, 0.0, 0.2, 0.0]),
    ],
)
def test_a_part_that_did_not_die_lately_starts_again_at_once(events: str, pauses: list[float], tmp_path: Path) -> None:
    async def scenario() -> list[float]:
        witness: Any = Witness()
        log = ServiceLog(tmp_path, "part", on_warning=lambda _: None)
        part = Part("part", ("part",), "nowhere", _is_ready)
        keeper = Keeper(part, environ={}, nursery=witness, log=log, reporter=witness, hurry=asyncio.Event())
        keeping = asyncio.create_task(keeper.keep())
        await asyncio.sleep(5)
        for event in events.split():
            if event == "die":
                witness.children[-1].exited.set_result(-9)
                await asyncio.sleep(11)  # until another one runs
            elif event == "restart":
                await keeper.restart(is_rolling=False)
                await asyncio.sleep(5)
            else:
                await asyncio.sleep(60)
        keeping.cancel()
        log.close()
        pauses: list[float] = witness.pauses
        return pauses

    assert virtual_loop.run(scenario()) == pauses
