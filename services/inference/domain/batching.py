"""When a batch is due, and which requests go into it. Pure: no clock, no loop, no lock."""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


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


class Regrouping:
    """Holds a batch back a little after a long one, for the callers that were just answered to come again.

    Callers that wait for each answer before they ask again fall into two halves otherwise, which take turns: while one
    half's batch runs, the other half waits, and no batch ever holds both. It takes at most :data:`SHARE` of the time
    that the last batch took, ends as soon as they can all be there, and is left out for a while, longer each time, when
    nobody came. Instants are nanoseconds of Unix time.
    """

    SHARE = 0.1
    SHORTEST_NS = 500_000
    """Less than that isn't worth a read."""
    LONGEST_ABSTENTION = 64
    """Batches."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether the next batch may be held back."""
        self.since_ns = 0
        """When the last batch ended: who came before was not in it."""
        self._rows = self._until_ns = 0
        self._abstention = self._left_out = 0

    def batch_ended(self, *, rows: int, start_ns: int, end_ns: int) -> None:
        hold_ns = int(self.SHARE * (end_ns - start_ns))
        self.is_on = hold_ns >= self.SHORTEST_NS and self._left_out == 0
        self._left_out = max(0, self._left_out - 1)
        self._rows, self.since_ns, self._until_ns = rows, end_ns, end_ns + hold_ns

    def due_in(self, *, rows: int, earlier_rows: int, now_ns: int) -> float:
        """Seconds for which a batch should still be held back; it has so many rows, ``earlier_rows`` of them from
        before ``since_ns``.
        """
        if rows - earlier_rows >= self._rows:
            return 0.0
        return max(0.0, (self._until_ns - now_ns) / 1e9)

    def batch_cut(self, *, rows: int, earlier_rows: int) -> None:
        """Learn whether holding back was of use."""
        is_vain = rows <= earlier_rows
        self._abstention = min(self.LONGEST_ABSTENTION, max(1, 2 * self._abstention)) if is_vain else 0
        self._left_out, self.is_on = self._abstention, False


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

    def rows_until(self, instant_ns: int) -> int:
        """Rows of all requests that were enqueued by then."""
        return sum(request.rows for request in self._waiting if request.urgency[1] <= instant_ns)

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
