"""A lane under load, in virtual time: callers that don't wait for each other, and processes that take batches."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from services.common.errors import UnavailableError
from services.gateway.domain.lane import Lane
from services.gateway.domain.shares import Share
from services.gateway.domain.tiers import Tier
from tests.unit.gateway.requests import served

GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """Requests of one caller, evenly ``per_second`` from ``start`` to ``end``."""

    caller: str
    per_second: float
    timeout_s: float = 1.0
    priority: int = 0
    rows: int = 1
    start: float = 0.0
    end: float = 20.0


@dataclass(slots=True)
class Request:
    source: Source
    tier: Tier
    share: Share
    born: float
    ended: float = 0.0

    @property
    def is_late(self) -> bool:
        return self.ended - self.born > self.source.timeout_s


@dataclass(slots=True)
class Outcome:
    """What became of the requests of all sources."""

    answered: list[Request] = field(default_factory=list)
    refused: list[tuple[float, Source, UnavailableError]] = field(default_factory=list)
    expired: list[Request] = field(default_factory=list)

    def answers_of(self, caller: str, *, since: float = 0.0) -> int:
        return sum(1 for one in self.answered if one.source.caller == caller and one.ended >= since)

    def rate(self, *, since: float, until: float) -> float:
        """Rows answered a second."""
        return sum(one.source.rows for one in self.answered if since <= one.ended < until) / (until - since)

    def reasons_of(self, caller: str) -> Counter[str]:
        return Counter(error.reason for _, source, error in self.refused if source.caller == caller)

    def missed(self, *, since: float = 0.0) -> list[Request]:
        """Those that were taken, and whose deadline passed all the same."""
        late = [one for one in self.answered if one.is_late]
        return [one for one in (*late, *self.expired) if one.born >= since]


class Site:
    """One lane, and ``processes`` that each answer up to ``batch`` rows in ``batch_s``, the most urgent first."""

    def __init__(self, *, processes: int = 1, batch: int = 4, batch_s: float = 0.05, **version: Any) -> None:
        self.lane = Lane(served(max_batch_size=batch, **version), now=0.0)
        self.lane.observe_consumers(processes, now=0.0)
        self.batch, self.batch_s = batch, batch_s
        self.pipe_s = 0.0
        """How long requests and answers are on their way."""
        self.paused: tuple[float, float] = (0.0, 0.0)
        """From when to when nothing is answered."""
        self._waiting: dict[int, deque[Request]] = {}
        self._idle = processes
        self._events: list[tuple[float, int, Any]] = []
        self._order = itertools.count()

    @property
    def capacity(self) -> float:
        """Rows a second."""
        return (self._idle or self.lane.live_consumers) * self.batch / self.batch_s

    def run(self, sources: Iterable[Source]) -> Outcome:
        """Let all come, until every request has ended."""
        outcome = Outcome()
        for source in sources:
            count = int((source.end - source.start) * source.per_second)
            for index in range(count):
                self._at(source.start + index / source.per_second, source)
        while self._events:
            now, _, event = heapq.heappop(self._events)
            if isinstance(event, Source):
                self._arrive(event, outcome, now)
            elif isinstance(event, Request):
                self._waiting.setdefault(event.source.priority, deque()).append(event)
            elif isinstance(event, list):
                self._idle += 1
                self._at(now + self.pipe_s, tuple(event))
            elif isinstance(event, tuple):
                self._answer(event, outcome, now)
            self._cut(outcome, now)
        assert (self.lane.unsettled, self.lane.rows) == (0, 0)
        for tier in self.lane.tiers.values():
            assert (tier.unsettled, tier.rows) == (0, 0)
            assert not any(share.rows for share in tier.shares.values())
        return outcome

    def _at(self, when: float, event: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _arrive(self, source: Source, outcome: Outcome, now: float) -> None:
        tier = self.lane.tiers[source.priority]
        share = tier.shares.get(source.caller) or tier.shares.make(source.caller, now=now)
        try:
            self.lane.check_admits(tier, share, rows=source.rows, timeout_s=source.timeout_s, now=now, grace_s=GRACE_S)
        except UnavailableError as error:
            outcome.refused.append((now, source, error))
            return
        self.lane.enter(tier, share, source.rows)
        self._at(now + self.pipe_s, Request(source, tier, share, now))

    def _cut(self, outcome: Outcome, now: float) -> None:
        begin, end = self.paused
        if begin <= now < end:
            self._at(end, None)
            return
        while self._idle and (batch := self._take(outcome, now)):
            self._idle -= 1
            self._at(now + self.batch_s, batch)

    def _take(self, outcome: Outcome, now: float) -> list[Request]:
        batch: list[Request] = []
        rows = 0
        for _, waiting in sorted(self._waiting.items()):
            while waiting and (rows + waiting[0].source.rows <= self.batch or not rows):
                request = waiting.popleft()
                if now - request.born > request.source.timeout_s:
                    self.lane.leave(request.tier, request.share, request.source.rows)
                    outcome.expired.append(request)
                    continue
                batch.append(request)
                rows += request.source.rows
        return batch

    def _answer(self, batch: tuple[Request, ...], outcome: Outcome, now: float) -> None:
        before, is_learning = self.lane.rows, self.lane.is_learning
        for request in batch:
            request.ended = now
            request.tier.answered += request.source.rows if is_learning else 0
            self.lane.leave(request.tier, request.share, request.source.rows)
        outcome.answered += batch
        if is_learning:
            rows = sum(request.source.rows for request in batch)
            self.lane.note_batch(rows=rows, rows_before=before, took_s=self.batch_s, now=now)
