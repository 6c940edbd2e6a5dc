from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.monitor_process import RunningMonitor, monitor


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningMonitor]:
    async with monitor(tmp_path) as one:
        yield one


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Ask until the answer is true, for ten seconds at most; return it."""

    async def ask(question: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(10):
            while not (answer := await question()):  # noqa: ASYNC110 - asks over the wire
                await asyncio.sleep(0.02)
        return answer

    return ask
