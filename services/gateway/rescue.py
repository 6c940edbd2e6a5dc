"""Requests that were drawn for a candidate and can't be answered there: the baseline answers them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from services.common.errors import PenstockError
from services.gateway.domain.lane import Lane
from services.gateway.domain.plans import Plan
from services.gateway.domain.tickets import Ticket
from services.gateway.pending import PendingTable
from services.gateway.spans import RequestSpans

_PROCESS_DIED = frozenset(("POISON_MESSAGE", "RESPONSE_LOST"))
"""What is said of requests whose model process died: with it, or before its answer could be read."""


class Queue(Protocol):
    """The lanes."""

    def put(self, ticket: Ticket) -> None: ...

    def remove(self, ticket: Ticket) -> None: ...


class Cancellations(Protocol):
    """How model processes learn that nobody waits for their answers."""

    def cancel(self, ticket: Ticket) -> None: ...


class Rescuer:
    """Moves requests from a candidate's lane to the baseline's, each once, with the deadline that it has.

    Requests whose callers named the version stay where they are, as do streams that have begun; and what may not run
    twice (``max_attempts`` is 1), once a process may have it.
    """

    def __init__(
        self,
        *,
        pending: PendingTable,
        spans: RequestSpans,
        queue: Queue,
        cancellations: Cancellations,
        keys: Iterator[int],
        on_earlier: Callable[[], None],
        clock: Callable[[], float],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``on_earlier`` is called when the pending table's first deadline is another one; ``clock`` is the loop's."""
        self.rescued: Counter[str] = Counter()
        """Requests by model, with those that were not given to a candidate that nobody serves."""
        self._pending = pending
        self._spans = spans
        self._queue = queue
        self._cancellations = cancellations
        self._keys = keys
        self._on_earlier = on_earlier
        self._clock = clock
        self._clock_ns = clock_ns
        pending.rescue = self._catch

    def empty(self, lane: Lane) -> None:
        """Move what waits in the lane of a candidate that no process serves, or that is no longer deployed."""
        for ticket in self._pending.unsettled():
            if ticket.lane is lane and (refuge := _refuge_of(ticket)) is not None and self._pending.take(ticket):
                self._queue.remove(ticket)
                self._cancellations.cancel(ticket)
                self._move(ticket, refuge)

    def _catch(self, ticket: Ticket, error: PenstockError) -> bool:
        """Move a request, already taken out, that processes died with; False for another error, or another request.

        It runs alone, as they may have died of it.
        """
        refuge = _refuge_of(ticket)
        if error.reason not in _PROCESS_DIED or refuge is None:
            return False
        self._move(ticket, refuge, attempt=2)
        return True

    def _move(self, ticket: Ticket, refuge: Plan, *, attempt: int = 1) -> None:
        now_ns, arrival = self._clock_ns(), ticket.arrival
        shares, caller = refuge.tier.shares, ticket.share.caller
        self._spans.leave_lane(ticket, end_ns=now_ns)
        ticket.heir = heir = Ticket(
            next(self._keys),
            refuge.lane,
            refuge.tier,
            shares.get(caller) or shares.make(caller, now=self._clock()),
            arrival,
            ticket.outcome,
            ticket.message,
            ticket.request_id,
            refuge.rows,
            ticket.deadline,
            ticket.deadline_ns,
            now_ns,
            arrival.context.child(),
            attempt=attempt,
        )
        self.rescued[refuge.lane.version.model] += 1
        if self._pending.open(heir):
            self._on_earlier()
        self._queue.put(heir)


def _refuge_of(ticket: Ticket) -> Plan | None:
    """Where a request may go instead; None: it has to stay."""
    refuge = ticket.refuge
    if refuge is None or not refuge.lane.is_deployed or ticket.responses:
        return None
    may_run_twice = ticket.lane.version.max_attempts > 1 or not (ticket.is_sent or ticket.sent_ns)
    return refuge if may_run_twice else None
