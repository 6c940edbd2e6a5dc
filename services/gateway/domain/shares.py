"""Who holds how much of a lane, and who holds more than a fair share."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from itertools import accumulate

_WANTS_FOR_S = 2.0
"""How long a caller that was refused counts as one that wants more: until it can have come again."""
_MOST_WANTING = 1_024
_KEPT = 64


class Share:
    """What one caller has: rows of its unsettled requests, counted by the lane."""

    __slots__ = ("caller", "room", "room_until", "rows", "wants_until")

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.rows = 0
        self.wants_until = -math.inf
        self.room = math.inf
        """How little room others left it when it was refused; for a while."""
        self.room_until = -math.inf


class Shares(dict[str, Share]):
    """The shares by caller, and whether one is fair (max-min).

    Fair is: what a caller doesn't want of an equal share is divided among the others. A caller wants what it holds, and
    as much as it can get for a while after it was refused, so that one that holds nothing is not forgotten. Where there
    are many callers, answers may be about the others' rows of a few questions ago. Callers that hold and want nothing
    are forgotten when there are many.
    """

    def __init__(self) -> None:
        super().__init__()
        self._demands: list[float] = []
        self._sums: list[float] = [0.0]
        self._tightest: list[tuple[float, str]] = []
        self._wanting = 0
        self._uses = 0
        self._full_at = _KEPT

    def make(self, caller: str, *, now: float) -> Share:
        """The share of a caller that has none yet."""
        if len(self) >= self._full_at:
            for one in [one for one in self.values() if not one.rows and one.wants_until <= now]:
                del self[one.caller]
            self._full_at = max(_KEPT, 2 * len(self))
        made = self[caller] = Share(caller)
        return made

    def note_refusal(self, share: Share, *, room: float, now: float) -> None:
        """Remember for a while that a caller wants more, where others leave so much room; of thousands, only some."""
        if share.wants_until <= now:
            if self._wanting >= _MOST_WANTING:
                return
            self._wanting += 1
        share.wants_until = now + _WANTS_FOR_S
        if room <= share.room or share.room_until <= now:
            share.room, share.room_until = room, share.wants_until

    def room_beside(self, share: Share, *, now: float) -> float:
        """The least room that any other caller was refused for the lack of lately; infinite if none was."""
        if not self._wanting:
            return math.inf
        self._look(now)
        return next((room for room, caller in self._tightest if caller != share.caller), math.inf)

    def is_used_up(self, share: Share, capacity: float, *, rows: int, now: float) -> bool:
        """Whether ``rows`` more are mostly beyond a caller's share of ``capacity``.

        Never where it is the only caller, or has nothing.
        """
        if not share.rows:
            return False
        self._look(now)
        if len(self._demands) <= 1:
            return False
        mine = share.rows + rows / 2
        at = bisect_right(self._demands, mine)
        taken = self._sums[at] + mine * (len(self._demands) - at)
        if share.wants_until <= now:
            taken += rows / 2  # it is among the demands with what it has
        return taken > capacity

    def _look(self, now: float) -> None:
        """Sort demands once in a while, so that a question costs the same however many callers there are."""
        self._uses += 1
        if 4 * self._uses <= len(self._demands):
            return
        self._uses = 0
        wanting = [share for share in self.values() if share.wants_until > now]
        demands = [float(share.rows) for share in self.values() if share.rows and share.wants_until <= now]
        self._wanting = len(wanting)
        self._demands = sorted(demands) + [math.inf] * len(wanting)
        self._sums = [0.0, *accumulate(self._demands)]
        self._tightest = heapq.nsmallest(2, ((share.room, share.caller) for share in wanting))
