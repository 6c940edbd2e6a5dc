"""Responses of decoupled models, from model processes to those who wait for them: each once, and all of one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from services.common.errors import UnavailableError
from services.gateway.domain.response_stream import ResponseStream
from services.gateway.domain.tickets import Ticket
from services.gateway.pending import PendingTable, response_of
from services.gateway.workers import Stream, Worker

STREAM_BROKEN = "STREAM_BROKEN"


class OpenStreams:
    """``on_broken`` gets requests that were ended because the model process did, after a part of its responses."""

    def __init__(self, pending: PendingTable, *, on_broken: Callable[[Ticket], None]) -> None:
        self._pending = pending
        self._on_broken = on_broken

    def take(self, message: Any, worker: Worker, stream: Stream) -> None:
        """Pass a ``penstock.gateway.v1.StreamResponse`` on; whoever makes more that nobody waits for is told so."""
        response = response_of(message, worker)  # also of one nobody waits for, so that it is given back
        found = self._find(message.request_key)
        if found is None:
            stream.cancel(message.request_key)
            return
        ticket, outcome = found
        if outcome.source in (None, worker) and message.index == outcome.received:
            if response is None:
                self._break(ticket, "a response is no longer in shared memory")
                return
            if outcome.source is None:
                self._begin(ticket, outcome, worker)
            outcome.add(response)
            return
        stream.cancel(message.request_key)
        if isinstance(outcome.source, Worker) and not outcome.source.streams:
            self._break(ticket, "the model process ended")

    def may_settle(self, replies: Iterable[Any], worker: Worker) -> bool:
        """Whether a process that ends requests is the one that answers them; there is one in each of its batches."""
        found = [one for reply in replies if (one := self._find(reply.request_key)) is not None]
        return all(outcome.source in (None, worker) for _, outcome in found)

    def tell_again(self, worker: Worker, stream: Stream) -> None:
        """Tell a process that connects again how far the callers of its streams are."""
        for key in worker.begun:
            if (found := self._find(key)) is not None:
                stream.report(key, found[1].taken)

    def break_orphans(self, workers: Iterable[Worker], *, before: float) -> None:
        """End what was begun by processes that are gone since an instant of the monotonic clock."""
        for worker in workers:
            if worker.begun and not worker.streams and worker.left_at < before:
                for key in list(worker.begun):
                    found = self._find(key)
                    if found is not None and found[1].source is worker:
                        self._break(found[0], "the model process ended")
                worker.begun.clear()

    def _find(self, key: int) -> tuple[Ticket, ResponseStream] | None:
        ticket = self._pending.get(key)
        if ticket is None or not isinstance(ticket.outcome, ResponseStream):
            return None
        return ticket, ticket.outcome

    def _begin(self, ticket: Ticket, outcome: ResponseStream, worker: Worker) -> None:
        worker.begun = {key for key in worker.begun if key in self._pending} | {ticket.key}
        ticket.sent_ns = ticket.sent_ns or time.time_ns()
        key = ticket.key  # nothing that leads back to the outcome: garbage is collected rarely
        outcome.begin(worker, lambda taken: worker.report(key, taken))

    def _break(self, ticket: Ticket, why: str) -> None:
        count = ticket.responses
        error = UnavailableError(f"{why} after {count} responses: ask again to get all", reason=STREAM_BROKEN)
        self._pending.fail(ticket, error, "BACKEND")
        self._on_broken(ticket)
