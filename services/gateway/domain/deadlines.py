"""The deadlines of all pending requests in one structure, so that one timer serves them all."""

from __future__ import annotations

import heapq


class DeadlineQueue:
    """Keys by deadline, in ticks: a key is due up to one ``resolution_s`` after its deadline, never before.

    Adding and removing cost a dictionary access each, however many keys there are: most requests are removed long
    before their deadline. Times are seconds of any one clock.
    """

    def __init__(self, resolution_s: float = 0.005) -> None:
        self._ticks_per_s = 1 / resolution_s
        self._ticks: dict[int, set[int]] = {}
        self._order: list[int] = []

    def add(self, key: int, deadline: float) -> bool:
        """Add a key; True when it is the first of the earliest tick, so that a timer must be set for it."""
        tick = int(deadline * self._ticks_per_s) + 1
        keys = self._ticks.get(tick)
        if keys is None:
            self._ticks[tick] = {key}
            heapq.heappush(self._order, tick)
            return self._order[0] == tick
        keys.add(key)
        return False

    def remove(self, key: int, deadline: float) -> None:
        """Remove a key, if it is there, with the deadline that it was added with."""
        keys = self._ticks.get(int(deadline * self._ticks_per_s) + 1)
        if keys is not None:
            keys.discard(key)

    def next_due(self) -> float | None:
        """When to call :meth:`take_due` next; None when nothing is left."""
        while self._order and not self._ticks[self._order[0]]:
            del self._ticks[heapq.heappop(self._order)]
        return self._order[0] / self._ticks_per_s if self._order else None

    def take_due(self, now: float) -> list[int]:
        """Remove and return the keys whose deadline has passed, earliest tick first."""
        due: list[int] = []
        while (first := self.next_due()) is not None and first <= now:
            due += self._ticks.pop(heapq.heappop(self._order))
        return due
