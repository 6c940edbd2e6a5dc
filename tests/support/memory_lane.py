"""A lane in memory, which keeps to the same rules as the one on Redis (tests/integration/inference/test_lanes.py)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

from services.common.lanes import Entry
from services.inference.model_process.lane import Delivery

_A_GOOD_WHILE_S = 5.0


class MemoryLane:
    """One consumer's view. ``unsettled`` are entries in somebody's hand, ``dead_letters`` those that were buried."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Entry]] = []
        self._suspects: list[Delivery] = []
        self._back: list[Delivery] = []
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()
        self.unsettled: dict[bytes, Delivery] = {}
        self.dead_letters: list[tuple[Delivery, str]] = []

    def put(self, *entries: Entry) -> None:
        for entry in entries:
            self._entries.append((entry.envelope.priority, next(self._numbers), entry))
        self._entries.sort(key=lambda one: one[:2])
        self._news.set()

    def put_suspect(self, entry: Entry, *, delivery_count: int) -> None:
        """What another consumer left when it died."""
        self._suspects.append(Delivery("lane", b"s%d" % next(self._numbers), entry, delivery_count, is_suspect=True))
        self._news.set()

    async def take(self, count: int, *, wait_s: float | None) -> list[Delivery]:
        if not self._entries and not self._suspects and not self._back and wait_s != 0:
            self._news.clear()
            try:
                async with asyncio.timeout(_A_GOOD_WHILE_S if wait_s is None else wait_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        taken, self._suspects, self._back = self._suspects + self._back, [], []
        room = count - len(taken)
        fresh, self._entries = self._entries[:room], self._entries[room:]
        taken += [Delivery("lane", b"%d" % number, entry) for _, number, entry in fresh]
        self.unsettled.update((one.entry_id, one) for one in taken)
        return taken

    def put_back(self, delivery: Delivery) -> None:
        self._back.append(delivery)
        self._news.set()

    async def rest(self) -> list[Delivery]:
        taken, self._back = self._back, []
        return taken

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self.unsettled.pop(delivery.entry_id, None)

    def bury(self, delivery: Delivery, reason: str) -> None:
        self.dead_letters.append((delivery, reason))

    def nudge(self) -> None:
        self._news.set()

    async def wake(self) -> None:
        self._news.set()
