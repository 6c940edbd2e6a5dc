"""Reads from the lane while a batch runs, so that the next one is in hand when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.inference.domain.pace import Pace

R = TypeVar("R")

LEAD, LEAST_LEAD_NS, MOST_LEAD = 0.1, 2_000_000, 0.25
"""How long before a batch's expected end, as a share of its time: other instances could hardly run sooner what is taken
then. A read takes a millisecond on a busy machine."""
SHORTEST_NS = 5_000_000
"""A batch of less time isn't worth a task beside it."""


class ReadAhead:
    """``take`` reads once, without waiting, what there is room for. Callers settle what became of it before its run."""

    def __init__(self, take: Callable[[], Awaitable[None]], now_ns: Callable[[], int]) -> None:
        self._take = take
        self._now_ns = now_ns
        self._pace = Pace()
        self._reading: asyncio.Task[None] | None = None

    async def beside(self, running: Awaitable[R], *, rows: int) -> R:
        """Wait for a batch of so many rows, and read shortly before its end, where that can be foretold."""
        expected_ns, start_ns = self._pace.expected_ns(rows), self._now_ns()
        ended: asyncio.Event | None = None
        if expected_ns >= SHORTEST_NS:
            ended = asyncio.Event()
            lead_ns = max(LEAD * expected_ns, min(LEAST_LEAD_NS, MOST_LEAD * expected_ns))
            self._reading = asyncio.create_task(self._read(ended, (expected_ns - lead_ns) / 1e9), name="read ahead")
        try:
            result = await running
        finally:
            if ended is not None:
                ended.set()
        self._pace.learn(rows, self._now_ns() - start_ns)
        return result

    async def _read(self, ended: asyncio.Event, in_s: float) -> None:
        try:
            async with asyncio.timeout(in_s):
                await ended.wait()
        except TimeoutError:
            await self._take()

    async def finish(self) -> None:
        """Wait until nothing is being read. What it brought is in hand then."""
        if self._reading is not None:
            reading, self._reading = self._reading, None
            await reading
