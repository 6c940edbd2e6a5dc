"""Nobody waits long for a save, and there is one at a time."""

from __future__ import annotations

import asyncio

import pytest

from services.monitor.saving import PATIENCE_S, Saving
from tests.support.virtual_loop import run


class Slow:
    """A save that takes so long, and then fails if it is to."""

    def __init__(self, seconds: float, *, error: Exception | None = None) -> None:
        self.begun = self.ended = 0
        self._seconds = seconds
        self._error = error

    async def __call__(self) -> None:
        self.begun += 1
        await asyncio.sleep(self._seconds)
        self.ended += 1
        if self._error is not None:
            raise self._error


def test_a_quick_save_is_waited_for_and_the_next_time_is_another() -> None:
    save = Slow(0.1)

    async def scenario() -> float:
        saving = Saving(save)
        for _ in range(3):
            await saving.wait()
        return asyncio.get_running_loop().time()

    assert run(scenario()) == pytest.approx(0.3)
    assert (save.begun, save.ended) == (3, 3)


def test_a_slow_save_goes_on_while_nobody_waits_and_no_other_begins() -> None:
    save = Slow(2.5 * PATIENCE_S)

    async def scenario() -> list[tuple[float, int, int]]:
        saving, seen = Saving(save), []
        for _ in range(3):
            await saving.wait()
            seen.append((asyncio.get_running_loop().time(), save.begun, save.ended))
        return seen

    assert run(scenario()) == [(PATIENCE_S, 1, 0), (2 * PATIENCE_S, 1, 0), (2.5 * PATIENCE_S, 1, 1)]


def test_at_the_end_it_is_waited_for_however_long_it_takes() -> None:
    save = Slow(60)

    async def scenario() -> None:
        await Saving(save).wait(None)

    run(scenario())
    assert save.ended == 1


@pytest.mark.parametrize("seconds", [0.1, 1.5 * PATIENCE_S])
def test_what_a_save_raises_is_raised_to_who_waits_now_or_next(seconds: float) -> None:
    async def scenario() -> None:
        saving = Saving(Slow(seconds, error=ValueError("a bug")))
        for _ in range(2):
            await saving.wait()

    with pytest.raises(ValueError, match="a bug"):
        run(scenario())
