"""Who holds how much of a lane, and who holds more than a fair share."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from itertools import accumulate

_WANTS_FOR_S = 2.0
"""How long a caller that was refused counts as one that wants more: until it can have come again."""
_MOST_WANTING = 1_024


class Shares:
    """Rows by caller, for those that hold some, and the max-min fair share of each.

    Fair is: what a caller doesn't want of an equal share is divided among the others. A caller wants what it holds, and
    as much as it can get for a while after it was refused, so that one that holds nothing is not forgotten. Where there
    are many callers, answers may be about the others' rows of a few questions ago.
    """

    __slots__ = ("_demands", "_sums", "_tightest", "_uses", "_wanting", "held")

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        """Kept by the lane; who has none is not in it."""
        self._wanting: dict[str, tuple[float, float]] = {}
        """Until when, and in how little room, by caller."""
        self._tightest: list[tuple[float, str]] = []
        self._demands: list[float] = []
        self._sums: list[float] = [0.0]
        self._uses = 0

    def note_refusal(self, caller: str, *, room: float, now: float) -> None:
        """Remember for a while that a caller wants more, where others leave so much room; of thousands, only some."""
        if len(self._wanting) >= _MOST_WANTING:
            self._forget(now)
        if len(self._wanting) < _MOST_WANTING:
            self._wanting[caller] = now + _WANTS_FOR_S, room

    def room_beside(self, caller: str, *, now: float) -> float:
        """The least room that any other caller was refused for the lack of lately; infinite if none was."""
        if not self._wanting:
            return math.inf
        self._look(now)
        return next((room for room, other in self._tightest if other != caller), math.inf)

    def is_used_up(self, caller: str, capacity: float, *, now: float) -> bool:
        """Whether a caller holds its fair share of ``capacity`` rows; never where it is alone, or has nothing."""
        mine = self.held.get(caller, 0)
        if not mine:
            return False
        self._look(now)
        if len(self._demands) <= 1:
            return False
        at = bisect_right(self._demands, mine)
        return self._sums[at] + mine * (len(self._demands) - at) >= capacity

    def _look(self, now: float) -> None:
        """Sort demands once in a while, so that a question costs the same however many callers there are."""
        self._uses += 1
        if 4 * self._uses <= len(self._demands):
            return
        self._uses = 0
        self._forget(now)
        wanting, held = self._wanting, self.held
        demands = [math.inf if caller in wanting else rows for caller, rows in held.items()]
        demands += [math.inf for caller in wanting if caller not in held]
        self._demands = sorted(demands)
        self._sums = [0.0, *accumulate(self._demands)]
        self._tightest = heapq.nsmallest(2, ((room, caller) for caller, (_, room) in wanting.items()))

    def _forget(self, now: float) -> None:
        for caller in [caller for caller, (until, _) in self._wanting.items() if until <= now]:
            del self._wanting[caller]
