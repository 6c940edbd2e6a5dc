"""The pending table: every admitted request, until it is settled exactly once.

Whoever ends a request (a reply, its deadline, its caller leaving, the drain) ends it here; whoever comes second finds
nothing and is ignored. So every outcome is counted, traced and answered once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from services.common.errors import PenstockError, UnavailableError
from services.common.status import error_from_code
from services.gateway.domain.deadlines import DeadlineQueue
from services.gateway.domain.lane import Lane
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Ticket
from services.gateway.spans import RequestSpans

_DEADLINE_EXCEEDED = 4


class Reply(Protocol):
    """``penstock.gateway.v1.Reply``."""

    request_key: int
    code: int
    message: str
    reason: str
    response: bytes
    queue_ns: int
    rows: int
    attempt: int
    response_use: int


class Batch(Protocol):
    """``penstock.gateway.v1.BatchReply``."""

    @property
    def replies(self) -> Sequence[Reply]: ...

    batch_rows: int
    is_execution_counted: bool
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    span_id: bytes


class Responses(Protocol):
    """The responses that a model process has in shared memory."""

    def borrow(self, reply: Reply) -> memoryview | None:
        """One of them, which is given back with its last view; None: it isn't there."""


def expired() -> UnavailableError:
    """The error of a request whose deadline has passed, in Triton's words."""
    return UnavailableError("Request timeout expired", reason="DEADLINE_EXCEEDED")


class PendingTable:
    """Unsettled requests by key. Belongs to one event loop's thread."""

    def __init__(
        self,
        spans: RequestSpans,
        *,
        pending_bytes: PendingBytes | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.bytes = pending_bytes or PendingBytes()
        self._spans = spans
        self._clock_ns = clock_ns
        self._tickets: dict[int, Ticket] = {}
        self.deadlines = DeadlineQueue()
        self.rescue: Callable[[Ticket, PenstockError], bool] = _rescue_nothing
        """Is asked before a batch's reply fails a request that has a refuge: whether it is answered elsewhere."""
        self.on_stray: Callable[[Reply, bytes | memoryview | None], None] = _ignore
        """Gets replies to what isn't pending, with their responses."""

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, key: int) -> bool:
        return key in self._tickets

    def get(self, key: int) -> Ticket | None:
        return self._tickets.get(key)

    def unsettled(self) -> Iterable[Ticket]:
        """The tickets as they are now, oldest first."""
        return list(self._tickets.values())

    def long_sent(self, *, before_ns: int) -> list[Ticket]:
        """The oldest ticket of each stream that came before an instant (Unix time), and that Redis has taken."""
        found: dict[str, Ticket] = {}
        for ticket in self._tickets.values():
            if ticket.enqueue_ns > before_ns:
                break
            if ticket.entry_id and ticket.sent_ns < before_ns and not ticket.responses:
                found.setdefault(ticket.stream, ticket)
        return list(found.values())

    def open(self, ticket: Ticket) -> bool:
        """Take a ticket in; True when the deadline timer must be set anew."""
        self._tickets[ticket.key] = ticket
        ticket.lane.enter(ticket.tier, ticket.share, ticket.rows)
        self.bytes.held += len(ticket.message)
        return self.deadlines.add(ticket.key, ticket.deadline)

    def settle_batch(self, batch: Batch, lane: Lane | None, responses: Responses | None = None) -> None:
        """Settle the requests of a batch that are still pending, all of one lane; it may be None when that is gone."""
        now_ns, answered_for, rows = self._clock_ns(), lane, 0
        is_learning = lane is not None and lane.is_learning and batch.batch_rows > 0
        rows_before = 0 if lane is None else lane.rows
        request_ns: list[int] = []
        queue_ns: list[int] = []
        for reply in batch.replies:
            ticket = self._close(reply.request_key)
            response = response_of(reply, responses)  # also of one nobody waits for, so that it is given back
            if ticket is None:
                self.on_stray(reply, response)
                continue
            if is_learning:
                ticket.tier.answered += ticket.rows
            if reply.code or response is None:
                self._fail_by(reply, ticket, now_ns=now_ns, is_from_batch=bool(batch.span_id))
                continue
            answered_for, arrival = ticket.lane, ticket.arrival
            request_ns.append(now_ns - arrival.start_ns)
            queue_ns.append(reply.queue_ns)
            rows += reply.rows
            if not ticket.outcome.done():
                ticket.outcome.set_result(response)
            if arrival.context.is_sampled:  # once the answer has left
                asyncio.get_running_loop().call_soon(self._finish_sampled, ticket, now_ns)
        if answered_for is not None and request_ns:
            answered_for.statistics.count_successes(request_ns=request_ns, queue_ns=queue_ns, rows=rows)
        if lane is not None and batch.batch_rows:
            if is_learning:
                _learn(batch, lane, rows_before)
            _count(batch, lane, requests=len(request_ns), now_ms=now_ns // 1_000_000)

    def _fail_by(self, reply: Reply, ticket: Ticket, *, now_ns: int, is_from_batch: bool) -> None:
        """End a request with a reply that is no answer, unless it is answered elsewhere."""
        error = error_of(reply)
        if ticket.refuge is None or not self.rescue(ticket, error):
            self._fail(ticket, error, "BACKEND", now_ns=now_ns, is_from_batch=is_from_batch)

    def _finish_sampled(self, ticket: Ticket, end_ns: int) -> None:
        self._spans.finish(ticket, end_ns=end_ns, settled_by="worker")

    def fail(self, ticket: Ticket, error: PenstockError, failure: Failure) -> bool:
        """End a request without a reply; False when it was settled before."""
        if self._close(ticket.key) is None:
            return False
        self._fail(ticket, error, failure, now_ns=self._clock_ns(), is_from_batch=False)
        return True

    def take(self, ticket: Ticket) -> bool:
        """Take a request out without an outcome, which is now somebody else's to give; False when it was settled."""
        return self._close(ticket.key) is not None

    def expire(self, now: float) -> list[Ticket]:
        """Fail the requests whose deadline has passed by ``now``; return them."""
        late = [ticket for key in self.deadlines.take_due(now) if (ticket := self._tickets.get(key)) is not None]
        for ticket in late:
            self.fail(ticket, expired(), "REJECTED")
        return late

    def _close(self, key: int) -> Ticket | None:
        ticket = self._tickets.pop(key, None)
        if ticket is not None:
            ticket.lane.leave(ticket.tier, ticket.share, ticket.rows)
            self.bytes.held -= len(ticket.message)
            self.deadlines.remove(key, ticket.deadline)
        return ticket

    def _fail(
        self, ticket: Ticket, error: PenstockError, failure: Failure, *, now_ns: int, is_from_batch: bool
    ) -> None:
        ticket.lane.statistics.count_failure(failure, now_ns - ticket.arrival.start_ns)
        self._spans.finish(ticket, end_ns=now_ns, error=error, settled_by="worker" if is_from_batch else "gateway")
        if not ticket.outcome.done():
            ticket.outcome.set_exception(error)


def _learn(batch: Batch, lane: Lane, rows_before: int) -> None:
    """Let a lane with much to do learn how fast it is; from what runs alone since a process died, nothing."""
    if any(reply.attempt > 1 for reply in batch.replies[:1]):
        lane.throughput.is_watching = False
        return
    took_ns = batch.compute_input_ns + batch.compute_infer_ns + batch.compute_output_ns
    now = asyncio.get_running_loop().time()
    lane.note_batch(rows=batch.batch_rows, rows_before=rows_before, took_s=took_ns * 1e-9, now=now)


def _count(batch: Batch, lane: Lane, *, requests: int, now_ms: int) -> None:
    """Count what a batch took, of which so many requests were answered."""
    times = {
        "rows": batch.batch_rows,
        "input_ns": batch.compute_input_ns,
        "infer_ns": batch.compute_infer_ns,
        "output_ns": batch.compute_output_ns,
    }
    if requests:
        lane.statistics.count_batch(requests=requests, **times)
    if batch.is_execution_counted:
        lane.statistics.count_execution(now_ms=now_ms, **times)


def response_of(reply: Reply, responses: Responses | None) -> bytes | memoryview | None:
    """The response, wherever it is; None: it isn't there any more."""
    if not reply.response_use:
        return reply.response
    return None if responses is None else responses.borrow(reply)


def error_of(reply: Reply) -> PenstockError:
    """Why a reply is no answer."""
    if not reply.code:
        return UnavailableError("the response is no longer in shared memory", reason="RESPONSE_LOST")
    if reply.code == _DEADLINE_EXCEEDED or reply.reason == "DEADLINE_EXCEEDED":
        return expired()
    return error_from_code(reply.code, reply.message, reason=reply.reason)


def _rescue_nothing(_ticket: Ticket, _error: PenstockError) -> bool:
    return False


def _ignore(_reply: Reply, _response: bytes | memoryview | None) -> None:
    """It was settled before."""
