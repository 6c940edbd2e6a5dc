"""What happens to an inference request: admitted or refused, enqueued, settled."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Protocol

from services.common.errors import CancelledByCallerError, PenstockError, UnavailableError
from services.gateway.domain.lane import Lane
from services.gateway.domain.options import read_options
from services.gateway.domain.routing import RoutingTable
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Arrival, Ticket
from services.gateway.domain.validation import InferRequest, check
from services.gateway.pending import PendingTable, expired
from services.gateway.spans import RequestSpans


class Queue(Protocol):
    """Where admitted requests go."""

    def put(self, ticket: Ticket) -> None:
        """Enqueue a request, soon."""

    def remove(self, ticket: Ticket) -> None:
        """Take back what may have been enqueued; best effort."""


class Cancellations(Protocol):
    """How model processes learn that a caller left."""

    def cancel(self, ticket: Ticket) -> None:
        """Tell those who serve the ticket's lane."""


class Desk:
    """Admits requests and ends those that are not answered. Belongs to one event loop's thread."""

    def __init__(
        self,
        *,
        pending: PendingTable,
        spans: RequestSpans,
        queue: Queue,
        cancellations: Cancellations,
        recovery_grace_s: float,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.routes = RoutingTable({}, is_complete=False)
        self._pending = pending
        self._spans = spans
        self._queue = queue
        self._cancellations = cancellations
        self._recovery_grace_s = recovery_grace_s
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        self._keys = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None

    def admit(self, message: bytes, request: InferRequest, arrival: Arrival, *, time_left_s: float | None) -> Ticket:
        """Check a request and enqueue it; its ticket's future gets the serialised response or the error.

        ``message`` is the request as bytes, ``time_left_s`` the caller's deadline. Whoever stops waiting for the future
        must call :meth:`withdraw`.

        Raises:
            PenstockError: the request is refused; nothing is left of it.
        """
        lane = None
        try:
            lane = self.routes.resolve(request.model_name, request.model_version)
            ticket = self._check(message, request, arrival, lane=lane, time_left_s=time_left_s)
        except PenstockError as error:
            model, version = request.model_name, request.model_version
            self.refuse(arrival, error, lane, model=model, version=version, request_id=request.id)
            raise
        if self._pending.open(ticket):
            self._set_timer()
        self._queue.put(ticket)
        return ticket

    def _check(
        self, message: bytes, request: InferRequest, arrival: Arrival, *, lane: Lane, time_left_s: float | None
    ) -> Ticket:
        version, now, now_ns = lane.version, self._loop.time(), self._clock_ns()
        lane.check_takes_requests(now=now, grace_s=self._recovery_grace_s)
        rows = check(request, version)
        options = read_options(request.parameters)
        timeout_s = min(options.timeout_us or version.default_timeout_us, version.default_timeout_us) * 1e-6
        if time_left_s is not None:
            timeout_s = min(timeout_s, time_left_s)
        if timeout_s <= 0:
            raise expired()
        return Ticket(
            key=next(self._keys),
            lane=lane,
            arrival=arrival,
            future=self._loop.create_future(),
            message=message,
            request_id=request.id,
            rows=rows,
            priority=version.priority_of(options.priority),
            deadline=now + timeout_s,
            deadline_ns=now_ns + int(timeout_s * 1e9),
            enqueue_ns=now_ns,
            producer=arrival.context.child(),
        )

    def refuse(
        self,
        arrival: Arrival,
        error: PenstockError,
        lane: Lane | None,
        *,
        model: str = "",
        version: str = "",
        request_id: str = "",
    ) -> None:
        """Count and trace a request that was not admitted; ``model`` and ``version`` are what the caller named."""
        if lane is not None:
            version = lane.version.version
            failure: Failure = "REJECTED" if isinstance(error, UnavailableError) else "OTHER"
            lane.statistics.count_failure(failure, self._clock_ns() - arrival.start_ns)
        self._spans.refuse(arrival, error, model=model, version=version, request_id=request_id)

    def withdraw(self, ticket: Ticket) -> None:
        """End a request that nobody waits for any more; nothing happens when it was settled before."""
        if self._pending.fail(ticket, CancelledByCallerError("the caller left before the answer"), "CANCELED"):
            self._queue.remove(ticket)
            self._cancellations.cancel(ticket)

    def abandon(self, lane: Lane | None, error: PenstockError) -> None:
        """Fail all pending requests of a lane, or of all lanes."""
        for ticket in self._pending.unsettled():
            if lane is None or ticket.lane is lane:
                self._pending.fail(ticket, error, "OTHER")
                self._queue.remove(ticket)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._pending.deadlines.next_due()
        if due is not None:
            self._timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        for ticket in self._pending.expire(self._loop.time()):
            self._queue.remove(ticket)
        self._set_timer()
