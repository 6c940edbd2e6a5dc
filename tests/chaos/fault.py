"""One thing that breaks: how it is broken, how it is mended, and what clients may notice of it."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from tests.chaos.stage import STEADY, Stage


class Fault:
    """An object is one repetition. ``strike`` breaks, ``mend`` undoes what doesn't mend itself, ``healed`` waits."""

    name: ClassVar[str]
    breaks: ClassVar[str]
    """What breaks, for people; the first line of a table's row."""
    promise: ClassVar[str]
    """What clients may see of it."""
    stage: ClassVar[str] = "suite"
    model: ClassVar[str] = STEADY
    """Which model is asked meanwhile."""
    lasts_s: ClassVar[float] = 0.0
    """How long it stays broken."""
    recovers_within_s: ClassVar[float | None] = None
    """The target for the 95th percentile."""
    open_calls_may: ClassVar[frozenset[str]] = frozenset()
    """Statuses with which calls may end that were open when it broke."""
    calls_may: ClassVar[frozenset[str]] = frozenset()
    """Statuses that a call may get at any time from the fault on: refusals that say so at once."""
    comes_back: ClassVar[bool] = True
    """Whether the model is to answer as before, so that the time until then is measured."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def obstacle(self, stage: Stage) -> str:
        """Why it can't be tried here; empty when it can."""
        return ""

    async def prepare(self, stage: Stage) -> None:
        """Find out what to break, before the load begins."""

    async def strike(self, stage: Stage) -> None:
        """Break it; returns when it is broken."""
        raise NotImplementedError

    async def mend(self, stage: Stage) -> None:
        """Undo what doesn't mend itself. Called also when ``strike`` failed half way."""

    async def healed(self, stage: Stage) -> None:
        """Wait until the stage is as before.

        Raises:
            NotWholeError: it takes too long.
        """
        await stage.whole()

    @property
    def took_s(self) -> float | None:
        """What is measured in place of the time until the answers are back; None where that is it."""
        return None

    def complaint(self) -> str:
        """What went wrong besides the load; empty when nothing did."""
        return ""
