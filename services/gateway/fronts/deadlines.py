"""The deadlines of the calls under way."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from services.gateway.fronts.grpc_call import Call


class Deadlines:
    """Ends calls when their time is over: one timer for all of them, exact to a twentieth of a second."""

    _PER_SECOND = 20
    _LEEWAY_S = 0.05
    """A servicer that keeps the deadline itself comes first, and ends the call in its own words."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, set[Call]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf

    def _slot(self, deadline: float) -> int:
        return math.ceil((deadline + self._LEEWAY_S) * self._PER_SECOND)

    def add(self, call: Call, deadline: float) -> None:
        slot = self._slot(deadline)
        self._due.setdefault(slot, set()).add(call)
        if slot < self._next:
            self._set(slot)

    def remove(self, call: Call, deadline: float) -> None:
        slot = self._slot(deadline)
        if (calls := self._due.get(slot)) is not None:
            calls.discard(call)
            if not calls:
                del self._due[slot]

    def _set(self, slot: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = None if slot == math.inf else self._loop.call_at(slot / self._PER_SECOND, self._ring)

    def _ring(self) -> None:
        now = self._loop.time() * self._PER_SECOND
        for slot in [slot for slot in self._due if slot <= now]:
            for call in self._due.pop(slot):
                call.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        self._set(min(self._due, default=math.inf))
