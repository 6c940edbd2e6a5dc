"""What happens to an inference request: admitted or refused, enqueued, settled."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from services.common.errors import CancelledByCallerError, PenstockError, UnavailableError, UnimplementedError
from services.gateway.domain.draws import Drawn, Headers, draw
from services.gateway.domain.lane import Lane
from services.gateway.domain.options import read_options, read_text
from services.gateway.domain.plans import Choice, Plan
from services.gateway.domain.routing import RoutingTable
from services.gateway.domain.splits import Split
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Arrival, Outcome, Ticket
from services.gateway.domain.validation import InferRequest, check, check_beside
from services.gateway.pending import PendingTable, expired
from services.gateway.rescue import Rescuer
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


class Copies(Protocol):
    """Who sends copies of answered requests to a candidate."""

    def follow(self, outcome: Outcome, message: bytes | memoryview, choice: Choice, request_id: str) -> Outcome:
        """The outcome to give a request that is to be copied."""


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
        keys: Iterator[int] | None = None,
        copies: Copies | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``keys`` are those of requests, no number twice; without ``copies`` none are made."""
        self.routes = RoutingTable({}, is_complete=False)
        self._pending = pending
        self._spans = spans
        self._queue = queue
        self._cancellations = cancellations
        self._recovery_grace_s = recovery_grace_s
        self._on_cold = on_cold
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        self._keys = keys or itertools.count(1)
        self._copies = copies
        self._timer: asyncio.TimerHandle | None = None
        self.rescuer = Rescuer(
            pending=pending,
            spans=spans,
            queue=queue,
            cancellations=cancellations,
            keys=self._keys,
            on_earlier=self._set_timer,
            clock=self._loop.time,
            clock_ns=clock_ns,
        )

    def admit(
        self,
        message: bytes | memoryview,
        read: Callable[[bytes | memoryview], InferRequest],
        arrival: Arrival,
        *,
        caller: str,
        time_left_s: float | None,
        outcome: Outcome,
        headers: Headers | None = None,
    ) -> Ticket:
        """Check a request and enqueue it; ``outcome`` gets the serialised response or the error.

        ``message`` is the request as bytes, ``time_left_s`` the deadline of ``caller``, who gets a fair share. ``read``
        parses the message, or raises a PenstockError; it isn't called for one that differs in contents only from one
        seen before. ``headers`` are asked only where they decide on the version. Whoever stops waiting must call
        :meth:`withdraw`.

        Raises:
            PenstockError: the request is refused; nothing is left of it.
        """
        plan = self.routes.forms.recall(message) or self._plan(message, read, arrival)
        now, drawn = self._loop.time(), None
        if plan.choice is not None:
            drawn = self._draw(plan, plan.choice, headers, now=now)
            plan = drawn.plan
        lane, tier, rows, now_ns = plan.lane, plan.tier, plan.rows, self._clock_ns()
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
        if drawn is not None:
            self._note_draw(ticket, drawn)
        if self._pending.open(ticket):
            self._set_timer()
        if not lane.live_consumers:
            self._on_cold()
        self._queue.put(ticket)
        return ticket

    def _draw(self, plan: Plan, choice: Choice, headers: Headers | None, *, now: float) -> Drawn:
        drawn = draw(plan, choice, headers, now=now)
        if not drawn.is_drawn:
            self.rescuer.rescued[choice.split.model] += 1
        return drawn

    def _note_draw(self, ticket: Ticket, drawn: Drawn) -> None:
        ticket.is_drawn, ticket.refuge = drawn.is_drawn, drawn.refuge
        if drawn.is_copied and self._copies is not None and drawn.plan.choice is not None:
            ticket.outcome = self._copies.follow(ticket.outcome, ticket.message, drawn.plan.choice, ticket.request_id)

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
        if (split := self.routes.split_of(model, version)) is not None:
            plan = _with_choice(plan, split, request, options.priority)
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
        arm = "" if lane is None else lane.arm
        self._spans.refuse(arrival, error, model=model, version=version, request_id=request_id, arm=arm)

    def withdraw(self, ticket: Ticket) -> None:
        """End a request that nobody waits for any more; nothing happens when it was settled before."""
        ticket = ticket.heir or ticket
        if ticket.key in self._pending:
            error = CancelledByCallerError("the caller left before the answer")
            self._pending.fail(ticket, error, "CANCELED")
            self._queue.remove(ticket)
            self._cancellations.cancel(ticket)

    def abandon(self, lane: Lane | None, error: PenstockError) -> None:
        """Fail all pending requests of a lane, but for those that another one can answer, or of all lanes."""
        if lane is not None:
            self.rescuer.empty(lane)
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


def _with_choice(plan: Plan, split: Split, request: InferRequest, priority: int) -> Plan:
    """The baseline's plan with the choice of a candidate; without one where that doesn't take the request.

    The registry lets no such version be a candidate, but a deployment's limits may change.
    """
    other, served = split.candidate.version, plan.lane.version
    if other.is_decoupled is not served.is_decoupled or other.inputs != served.inputs:
        return plan
    try:
        rows = check_beside(request, other)
    except PenstockError:
        return plan
    tier = split.candidate.tiers[other.priority_of(priority)]
    candidate = Plan(split.candidate, tier, rows, plan.timeout_s, plan.request_id)
    return plan._replace(choice=Choice(split, candidate, read_text(request.parameters, split.sticky_key)))
