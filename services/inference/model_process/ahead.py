"""Reads from the lane while a batch runs, so that the next one is in hand when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.inference.domain.pace import Pace

R = TypeVar("R")

LEAD, MOST_LEAD = 0.1, 0.5
"""How long before a batch's expected end, as a share of its time: other instances could hardly run sooner what is taken
then."""
LEAST_LEAD_NS, MOST_LEAD_NS = 2_000_000, 20_000_000
LONGER, SHORTER = 1.3, 0.995
"""What a lead is multiplied by after a read that came too late, and after one in time, so that one in fifty is late.
A read takes a millisecond on a busy machine, and the timer before it another."""
SHORTEST_NS = 5_000_000
"""A batch of less time isn't worth a task beside it."""


class ReadAhead:
    """``take`` reads once, without waiting, what there is room for."""

    def __init__(self, take: Callable[[], Awaitable[None]], now_ns: Callable[[], int]) -> None:
        self._take = take
        self._now_ns = now_ns
        self._pace = Pace()
        self._lead_ns: float = LEAST_LEAD_NS
        self._reading: asyncio.Task[None] | None = None

    async def beside(self, running: Awaitable[R], *, rows: int, since_ns: int) -> R:
        """Wait for a batch of so many rows that began then; read shortly before its end, if that is foreseeable."""
        expected_ns = self._pace.expected_ns(rows)
        ended: asyncio.Event | None = None
        if expected_ns >= SHORTEST_NS:
            ended = asyncio.Event()
            lead_ns = max(LEAD * expected_ns, min(self._lead_ns, MOST_LEAD * expected_ns))
            in_s = (since_ns + expected_ns - lead_ns - self._now_ns()) / 1e9
            self._reading = asyncio.create_task(self._read(ended, in_s), name="read ahead")
        try:
            result = await running
        finally:
            if ended is not None:
                ended.set()
        self._pace.learn(rows, self._now_ns() - since_ns)
        return result

    async def _read(self, ended: asyncio.Event, in_s: float) -> None:
        try:
            async with asyncio.timeout(in_s):
                await ended.wait()
        except TimeoutError:
            await self._take()
            lead_ns = self._lead_ns * (LONGER if ended.is_set() else SHORTER)
            self._lead_ns = min(max(lead_ns, LEAST_LEAD_NS), MOST_LEAD_NS)

    async def finish(self) -> None:
        """Wait until nothing is being read. What it brought is in hand then."""
        if self._reading is not None:
            reading, self._reading = self._reading, None
            await reading
