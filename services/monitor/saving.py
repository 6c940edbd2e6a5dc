"""Saves that are waited for, but not for long: judging goes on while the database is away, or takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

PATIENCE_S = 1.0


class Saving:
    """One save at a time, which goes on when it isn't waited for any more.

    ``save`` stores all that is to be stored by the time it ends, or leaves what fails to the next one.
    """

    def __init__(self, save: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._save = save
        self._task: asyncio.Task[None] | None = None

    async def wait(self, patience_s: float | None = PATIENCE_S) -> None:
        """Save, or go on with the save that is under way, and wait for so long at most; None: until it ends.

        Raises:
            Exception: what the save raised, now or since it was waited for.
        """
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        task = self._task = self._task or asyncio.create_task(self._save())
        await asyncio.wait({task}, timeout=patience_s)
        if task.done():
            task.result()
