"""What runs a retraining: something that is started, looked at, and ended, by a monitor or the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.monitor.domain.recipes import Recipe
from services.monitor.domain.retraining import Retraining


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a retraining is. ``failure`` says why it failed; ``result`` is JSON, "" where it says nothing."""

    is_over: bool = False
    failure: str = ""
    result: str = ""
    output_tail: str = ""
    heartbeat_ns: int = 0
    """Its last sign of life, Unix ns; 0: none that is known."""


class Runner(Protocol):
    """All methods may be called again after a restart, and raise UnavailableError where trying again may help."""

    async def start(self, retraining: Retraining, recipe: Recipe) -> str:
        """Start it, unless it was started before. Returns how it is found again.

        Raises:
            FailedPreconditionError: it can't be started, ever.
        """

    async def look(self, retraining: Retraining) -> Progress:
        """How far it is."""

    async def stop(self, retraining: Retraining) -> None:
        """End it, if it goes on."""
