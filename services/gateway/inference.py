"""What happens to an inference request: admitted or refused, enqueued, settled."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Protocol

from services.common.errors import CancelledByCallerError, PenstockError, UnavailableError, UnimplementedError
from services.gateway.domain.lane import Lane
from services.gateway.domain.options import read_options
from services.gateway.domain.plans import Plan
from services.gateway.domain.routing import RoutingTable
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Arrival, Outcome, Ticket
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
    """Admits requests and ends those that are not answered. Belongs to one event loop's thread.

    ``on_cold`` is called for each that was admitted though no process serves its lane.
    """

    def __init__(
        self,
        *,
        pending: PendingTable,
        spans: RequestSpans,
        queue: Queue,
        cancellations: Cancellations,
        recovery_grace_s: float,
        on_cold: Callable[[], None] = lambda: None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.routes = RoutingTable({}, is_complete=False)
        self._pending = pending
        self._spans = spans
        self._queue = queue
        self._cancellations = cancellations
        self._recovery_grace_s = recovery_grace_s
        self._on_cold = on_cold
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        self._keys = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None

    def admit(
        self,
        message: bytes | memoryview,
        read: Callable[[bytes | memoryview], InferRequest],
        arrival: Arrival,
        *,
        caller: str,
        time_left_s: float | None,
        outcome: Outcome,
    ) -> Ticket:
        """Check a request and enqueue it; ``outcome`` gets the serialised response or the error.

        ``message`` is the request as bytes, ``time_left_s`` the deadline of ``caller``, who gets a fair share. ``read``
        parses the message, or raises a PenstockError; it isn't called for one that differs in contents only from one
        seen before. Whoever stops waiting must call :meth:`withdraw`.

        Raises:
            PenstockError: the request is refused; nothing is left of it.
        """
        plan = self.routes.forms.recall(message)
        if plan is None:
            plan = self._plan(message, read, arrival)
        lane, tier, rows, now, now_ns = plan.lane, plan.tier, plan.rows, self._loop.time(), self._clock_ns()
        timeout_s, pending_bytes = plan.timeout_s, self._pending.bytes
        share = tier.shares.get(caller) or tier.shares.make(caller, now=now)
        if time_left_s is not None and time_left_s < timeout_s:
            timeout_s = time_left_s
        try:
            if timeout_s <= 0:
                raise expired()
            if lane.rows >= lane.calm_rows or not lane.live_consumers:
                lane.check_admits(tier, share, rows=rows, timeout_s=timeout_s, now=now, grace_s=self._recovery_grace_s)
            if pending_bytes.held + len(message) > pending_bytes.limit:
                pending_bytes.check(len(message))
        except PenstockError as error:
            self.refuse(arrival, error, lane, model=lane.version.model, request_id=plan.request_id)
            raise
        ticket = Ticket(
            next(self._keys),
            lane,
            tier,
            share,
            arrival,
            outcome,
            message,
            plan.request_id,
            rows,
            now + timeout_s,
            now_ns + int(timeout_s * 1e9),
            now_ns,
            arrival.context.child(),
        )
        if self._pending.open(ticket):
            self._set_timer()
        if not lane.live_consumers:
            self._on_cold()
        self._queue.put(ticket)
        return ticket

    def _plan(
        self, message: bytes | memoryview, read: Callable[[bytes | memoryview], InferRequest], arrival: Arrival
    ) -> Plan:
        """Find out about a request, and refuse it if it fits no version."""
        lane, model, version, request_id = None, "", "", ""
        try:
            request = read(message)
            model, version, request_id = request.model_name, request.model_version, request.id
            lane = self.routes.resolve(model, version)
            served = lane.version
            if served.is_decoupled and arrival.surface.no_streams:
                instead = f"ask model '{served.model}' by ModelStreamInfer, or generate_stream of REST"
                raise UnimplementedError(f"{arrival.surface.no_streams}: {instead}")
            rows = check(request, served)
            options = read_options(request.parameters)
        except PenstockError as error:
            self.refuse(arrival, error, lane, model=model, version=version, request_id=request_id)
            raise
        timeout_us = min(options.timeout_us or served.default_timeout_us, served.default_timeout_us)
        tier = lane.tiers[served.priority_of(options.priority)]
        plan = Plan(lane, tier, rows, timeout_us * 1e-6, request_id)
        if not request_id and served.takes_any_contents and not served.is_decoupled:
            self.routes.forms.learn(message, request.raw_input_contents, plan)
        return plan

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
            failure: Failure = "OTHER"
            if isinstance(error, UnavailableError):
                failure = "REJECTED"
                lane.refused[error.reason] += 1
            lane.statistics.count_failure(failure, self._clock_ns() - arrival.start_ns)
        self._spans.refuse(arrival, error, model=model, version=version, request_id=request_id)

    def withdraw(self, ticket: Ticket) -> None:
        """End a request that nobody waits for any more; nothing happens when it was settled before."""
        if ticket.key in self._pending:
            error = CancelledByCallerError("the caller left before the answer")
            self._pending.fail(ticket, error, "CANCELED")
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
