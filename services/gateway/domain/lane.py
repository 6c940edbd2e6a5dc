"""A lane as the gateway sees it: what it serves, who serves it, how much waits."""

from __future__ import annotations

import math
from collections import Counter

from services.common.lanes import LaneKeys
from services.gateway.domain import refusals
from services.gateway.domain.residence import Residence
from services.gateway.domain.shares import Share
from services.gateway.domain.statistics import VersionStatistics
from services.gateway.domain.throughput import Throughput
from services.gateway.domain.tiers import Tier
from services.gateway.domain.versions import ServedVersion

_BATCHES_AHEAD = 2
"""Of each process: the one that it runs, and a whole one that waits."""
_LEAST_WAIT_S = 0.02
"""What waits for less may lie in the pipes between the processes, so that one of them has nothing to do."""
_MUCH_S = 1.0
"""With so much work, at its best, to do a lane is as fast as it can be even if its batches are not full."""
_FULL = 0.75
_LEAST_ROOM_S = 0.15
"""So much work, at its best, is left to callers whatever the others' deadlines: with less they might do less."""
_MARGIN = 1.2
"""Times that an estimate is taken: answers don't come evenly."""
_FAIR_PART = 0.75
"""Of the room there is, that is divided among callers; the rest is for those that hold less than their share."""


class Lane:
    """The state of one model version at this gateway; lives from its deployment until its last request is settled.

    With several gateways each sees its own requests and the answers to them, and so its own share of lane and rate.
    """

    def __init__(self, version: ServedVersion, *, now: float) -> None:
        """``now`` is when the version was first heard of: from then on a process may be awaited. Monotonic seconds."""
        self.version = version
        self.keys = LaneKeys(version.model, version.version)
        self.tiers = _Tiers(self.keys)
        """By priority."""
        self.statistics = VersionStatistics()
        self.refused: Counter[str] = Counter()
        """Requests that were not taken, by reason."""
        self.unsettled = 0
        self.rows = 0
        """Of the unsettled requests."""
        self.is_deployed = True
        self.arm = ""
        """What the version is in a rollout, as spans name it; empty where it serves as any other."""
        self.live_consumers = 0
        self.residence = Residence()
        self.throughput = Throughput()
        self._absent_since = now
        self._cut_off_until = -math.inf
        self._set_bounds()

    @property
    def is_live(self) -> bool:
        return self.live_consumers > 0

    @property
    def takes_requests(self) -> bool:
        """Whether a process serves it, or will for the next request."""
        return self.is_live or (self.residence.is_awaited and not self.residence.failure)

    def redefine(self, version: ServedVersion) -> None:
        """Take over what a changed deployment says."""
        self.version = version
        self._set_bounds()

    def observe_consumers(self, count: int, *, now: float) -> None:
        """Note how many processes hold a lease."""
        if self.live_consumers and not count:
            self._absent_since = now
        if self.live_consumers != count:
            self.live_consumers = count
            self._set_bounds()

    def can_be_drawn(self, *, now: float) -> bool:
        """Whether a request that may go elsewhere can be given to it: it is served, as far as one can tell."""
        return self.live_consumers > 0 and now >= self._cut_off_until

    def note_cut_off(self, *, until: float) -> None:
        """Note that the last connection to its processes has ended; if they died, their leases are over by then."""
        self._cut_off_until = until

    def note_process(self, *, now: float) -> None:
        """Note that a process begins to answer."""
        self._cut_off_until = -math.inf
        if (waited_s := self.residence.note_process(now)) is not None:
            self.statistics.cold_start_seconds.observe(waited_s)

    def _set_bounds(self) -> None:
        version = self.version
        self.busy_rows = _BATCHES_AHEAD * max(1, version.max_batch_size) * max(1, self.live_consumers)
        """From so many unsettled rows on all processes have enough to do."""
        self.calm_rows = min(self.busy_rows, version.queue_places // 2)
        """With fewer rows unsettled there is room for everybody, if anybody serves the lane: no need to check."""

    def enter(self, tier: Tier, share: Share, rows: int) -> None:
        """Count a request that was admitted."""
        self.unsettled += 1
        self.rows += rows
        share.rows += rows
        if tier.priority:
            tier.unsettled += 1
            tier.rows += rows

    def leave(self, tier: Tier, share: Share, rows: int) -> None:
        """Count a request that was settled."""
        self.unsettled -= 1
        self.rows -= rows
        share.rows -= rows
        if tier.priority:
            tier.unsettled -= 1
            tier.rows -= rows

    @property
    def is_learning(self) -> bool:
        """Whether answers to come say how fast the lane is: enough waits, or did so at the last one."""
        return self.rows >= self.busy_rows or self.throughput.is_watching

    def note_batch(self, *, rows: int, rows_before: int, took_s: float, now: float) -> None:
        """Learn from a batch of ``rows`` that was answered; ``rows_before`` were unsettled before that.

        Where not much is under way and batches are not full, it may be on its way for so long that processes wait.
        """
        tiers = self.tiers.values()
        enough = max(self.busy_rows, _LEAST_WAIT_S * max(tier.rate for tier in tiers))
        if rows < _FULL * self.version.max_batch_size:
            enough = max(enough, _MUCH_S * self.throughput.best)
        was_busy, is_busy = rows_before >= enough, self.rows >= enough
        self.throughput.note_batch(tiers, took_s=took_s, was_busy=was_busy, is_busy=is_busy, now=now)

    def estimated_wait_s(self, *, now: float) -> float:
        """How long a request of the least urgent would take now; 0 where there is no need or no way to tell."""
        if self.rows < self.busy_rows or not self.throughput.is_fresh(now):
            return 0.0
        rate = min(tier.rate for tier in self.tiers.values())
        return self.rows / rate + self.throughput.batch_s if rate else 0.0

    def check_admits(
        self, tier: Tier, share: Share, *, rows: int, timeout_s: float, now: float, grace_s: float
    ) -> None:
        """Refuse a request when nobody served the lane for ``grace_s`` or can be woken, or there is no room for it.

        Raises:
            UnavailableError: repeating the request may work.
        """
        if not self.live_consumers:
            self._check_may_wait(now=now, grace_s=grace_s)
        if self.rows >= self.calm_rows:
            self._check_room(tier, share, rows=rows, timeout_s=timeout_s, now=now)

    def _check_may_wait(self, *, now: float, grace_s: float) -> None:
        if self.residence.has_failed:
            raise refusals.load_failed(str(self), self.residence.failure)
        if not self.residence.is_awaited and now - self._absent_since > grace_s:
            raise refusals.no_live_process(str(self))
        self.residence.ask(now)

    def _check_room(self, tier: Tier, share: Share, *, rows: int, timeout_s: float, now: float) -> None:
        """There is room for so many requests, and for the rows that can be answered before the deadline.

        Only what is as urgent counts, or more urgent. From half of the room on it is divided among the callers.
        """
        ahead, rows_ahead = self._ahead_of(tier)
        if not ahead:
            return
        places, batch_s, shares = self.version.queue_places, self.throughput.batch_s, tier.shares
        room = rows_ahead / ahead * places
        rate = tier.rate if rows_ahead >= self.busy_rows and self.throughput.is_fresh(now) else 0.0
        if rate:
            room = min(room, (timeout_s - batch_s) * rate / _MARGIN)
        drained_in_s = (rows_ahead - room / 2) / rate if rate else 0.0
        if ahead >= places:
            shares.note_refusal(share, room=room, now=now)
            raise refusals.queue_full(str(self), unsettled=ahead, places=places, drained_in_s=drained_in_s)
        if rate and rows_ahead + rows > room:
            shares.note_refusal(share, room=room, now=now)
            wait_s, possible_in_s = (rows_ahead + rows) / rate + batch_s, (rows_ahead + rows - room) / rate
            raise refusals.deadline_unreachable(
                str(self), rows=rows_ahead, rate=rate, wait_s=wait_s, timeout_s=timeout_s, possible_in_s=possible_in_s
            )
        least = max(_BATCHES_AHEAD * self.busy_rows, _LEAST_ROOM_S * self.throughput.best)
        beside = max(shares.room_beside(share, now=now), least)
        above = rows_ahead - tier.rows if tier.priority else 0
        fair_room = max(_FAIR_PART * min(room, beside) - above, self.busy_rows)
        if 2 * rows_ahead >= min(room, beside) and shares.is_used_up(share, fair_room, rows=rows, now=now):
            shares.note_refusal(share, room=room, now=now)
            raise refusals.fair_share_used_up(str(self), rows=share.rows, drained_in_s=drained_in_s)

    def _ahead_of(self, tier: Tier) -> tuple[int, int]:
        """Requests as urgent as a tier's or more, and their rows."""
        unsettled, rows = self.unsettled, self.rows
        if len(self.tiers) > 1:
            for other in self.tiers.values():
                if other.priority > tier.priority:
                    unsettled -= other.unsettled
                    rows -= other.rows
        return unsettled, rows

    def __str__(self) -> str:
        return f"model '{self.version.model}' version {self.version.version}"


class _Tiers(dict[int, Tier]):
    """Made when first asked for."""

    def __init__(self, keys: LaneKeys) -> None:
        super().__init__()
        self._keys = keys

    def __missing__(self, priority: int) -> Tier:
        made = self[priority] = Tier(priority, self._keys.stream(priority))
        return made
