"""Waiting for what another process, thread or task does, of which no event tells. The test's time limit ends it."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


def eventually(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    while not condition():
        time.sleep(0.01)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so, or its awaitable says that it is."""
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        await asyncio.sleep(0.01)
