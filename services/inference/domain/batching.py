"""When a batch is due, and which requests go into it. Pure: no clock, no loop, no lock."""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Arrival = tuple[int, int]
"""When a request was enqueued, in nanoseconds of Unix time, and its rows."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Decides when a batch is due. ``max_wait_s`` counts from the enqueueing of the oldest request."""

    max_rows: int
    max_wait_s: float = 0.0

    def due_in(self, *, rows: int, oldest_age_s: float) -> float:
        """Seconds for which a batch with this many rows should still be held back."""
        if rows >= self.max_rows:
            return 0.0
        return max(0.0, self.max_wait_s - oldest_age_s)


@dataclass(slots=True)
class _Window:
    """The time after a batch in which its callers may come again. Instants are nanoseconds of Unix time."""

    since_ns: int = 0
    until_ns: int = 0
    rows: int = 0
    """Of the batch."""
    came: int = 0
    """Rows of those who came."""
    last_ns: int = 0
    """When the last of them was enqueued."""

    def see(self, arrivals: Iterable[Arrival]) -> None:
        for instant_ns, rows in arrivals:
            if self.since_ns < instant_ns <= self.until_ns:
                self.came += rows
                self.last_ns = max(self.last_ns, instant_ns)


class Regrouping:
    """Holds a batch back a little after a long one, for the callers that were just answered to come again.

    Callers that wait for each answer before they ask again fall into parts otherwise, which take turns: while one
    part's batch runs, the other waits, and no batch ever holds both. It takes at most :data:`SHARE` of the time that a
    batch takes, about twice the time in which they usually come, and ends as soon as they can all be there. It is left
    out while most don't come in time. All this shows whether batches are held back or not: each request says when it
    was enqueued. Instants are nanoseconds of Unix time.
    """

    SHARE = 0.2
    SHORTEST_NS = 1_000_000
    """Less than that isn't worth a read."""
    MOST = 0.5
    """So many of the callers must come again in time."""
    KEPT = 0.75
    """How much of what was learnt before counts beside the next batch."""

    def __init__(self) -> None:
        self.is_long = False
        """Whether the last batch was long enough; only then :meth:`batch_cut` need be called."""
        self._last, self._older = _Window(), _Window()
        self._usual_ns = 0.0
        self._came = self._rows = 1.0
        self._return_ns: float | None = None
        """In which time callers usually come again."""

    @property
    def is_on(self) -> bool:
        """Whether the next batch may be held back."""
        return self.is_long and self._came >= self.MOST * self._rows

    @property
    def since_ns(self) -> int:
        """When the last batch ended: who came before was not in it."""
        return self._last.since_ns

    def batch_ended(self, *, rows: int, start_ns: int, end_ns: int) -> None:
        took_ns = end_ns - start_ns
        self._usual_ns += (took_ns - self._usual_ns) * (1 - self.KEPT)
        longest_ns = int(self.SHARE * max(took_ns, self._usual_ns))
        self.is_long = longest_ns >= self.SHORTEST_NS
        self._last = _Window(end_ns, end_ns + longest_ns, rows)

    def due_in(self, *, rows: int, earlier_rows: int, now_ns: int) -> float:
        """Seconds for which a batch should still be held back; it has so many rows, ``earlier_rows`` of them from
        before ``since_ns``.
        """
        if rows - earlier_rows >= self._last.rows:
            return 0.0
        until_ns: float = self._last.until_ns
        if self._return_ns is not None:
            until_ns = min(until_ns, self.since_ns + 2 * self._return_ns + self.SHORTEST_NS)
        return max(0.0, (until_ns - now_ns) / 1e9)

    def batch_cut(self, arrivals: Collection[Arrival], *, now_ns: int) -> None:
        """Learn who came again after the last batch, from all that is in hand. Who comes while the next batch runs is
        seen a batch later.
        """
        last = self._last
        self._older.see(arrivals)
        last.see(arrivals)
        self._learn(self._older)
        self._older = last
        if now_ns >= last.until_ns or last.came >= last.rows:
            self._learn(last)
            self._older = _Window()

    def _learn(self, window: _Window) -> None:
        if not window.rows:
            return
        self._came = self.KEPT * self._came + min(window.came, window.rows)
        self._rows = self.KEPT * self._rows + window.rows
        if window.came >= self.MOST * window.rows:
            took_ns = window.last_ns - window.since_ns
            before_ns = took_ns if self._return_ns is None else self._return_ns
            self._return_ns = self.KEPT * before_ns + (1 - self.KEPT) * took_ns


class Queued(Protocol):
    """A request as the backlog sees it."""

    @property
    def rows(self) -> int: ...

    @property
    def bucket(self) -> Hashable:
        """Requests may share a batch when their buckets are equal; None shares with nobody."""

    @property
    def urgency(self) -> tuple[int, int]:
        """Less is sooner: priority, then time of enqueueing."""


Q = TypeVar("Q", bound=Queued)


class Backlog(Generic[Q]):
    """Requests in hand, the most urgent first. The next batch is the head's bucket, up to a number of rows."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._waiting: list[Q] = []
        self._rows = 0
        self._is_uniform = True
        """Whether all could share a batch, were there room."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def head(self) -> Q:
        return self._waiting[0]

    def add(self, request: Q) -> None:
        waiting = self._waiting
        self._is_uniform = request.bucket is not None and (
            not waiting or (self._is_uniform and request.bucket == waiting[0].bucket)
        )
        self._rows += request.rows
        if not waiting or waiting[-1].urgency <= request.urgency:
            waiting.append(request)
        else:
            insort(waiting, request, key=lambda one: one.urgency)

    @property
    def rows(self) -> int:
        """Rows that the next batch would have, at least the limit when it would be cut short by the limit."""
        if self._is_uniform:
            return self._rows
        rows = 0
        for request in self._waiting:
            if request is self._waiting[0] or self._joins(request):
                rows += request.rows
                if rows >= self._max_rows or request.bucket is None:
                    return max(rows, self._max_rows)
        return rows

    @property
    def arrivals(self) -> list[Arrival]:
        """Of all requests."""
        return [(request.urgency[1], request.rows) for request in self._waiting]

    def rows_until(self, instant_ns: int) -> int:
        """Rows of all requests that were enqueued by then."""
        return sum([rows for enqueue_ns, rows in self.arrivals if enqueue_ns <= instant_ns])

    def _joins(self, request: Q) -> bool:
        return request.bucket is not None and request.bucket == self._waiting[0].bucket

    def cut(self) -> list[Q]:
        """Take the next batch out. A request with more rows than the limit goes alone."""
        if not self._waiting:
            return []
        if self._is_uniform and self._rows <= self._max_rows:
            batch, self._waiting, self._rows = self._waiting, [], 0
            return batch
        batch, rest = self._divided()
        self._waiting, self._rows = [], 0
        for request in rest:
            self.add(request)
        return batch

    def _divided(self) -> tuple[list[Q], list[Q]]:
        batch, rest, rows = [self._waiting[0]], [], self._waiting[0].rows
        is_open = True
        for request in self._waiting[1:]:
            if is_open and self._joins(request):
                # Once one does not fit, later ones must not overtake it.
                is_open = rows + request.rows <= self._max_rows
                if is_open:
                    batch.append(request)
                    rows += request.rows
                    continue
            rest.append(request)
        return batch, rest
