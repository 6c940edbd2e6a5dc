"""Writes requests into lanes: all of one event-loop turn in one pipeline, again after Redis lost them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import hiredis

from services.common.errors import PenstockError, UnavailableError
from services.common.payloads import reference_of
from services.common.redis_masters import LOST
from services.common.resp import ANSWER_S, RespConnection, told
from services.gateway.adapters.ticket_packer import TicketPacker
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Ticket

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 0.5
_PIPELINE_BYTES = 8 * 1024 * 1024
"""A pipeline ends after the entry that passes this size, and none begins while this much has no answer."""
_HANDED_OVER_FROM = 3
"""Attempts that a request must have to be handed over: with a process that dies of another one, one more is lost."""
_SLOWEST_BYTES_PER_S = 8 * 1024 * 1024
"""A connection that is slower counts as broken."""
_ELSEWHERE = frozenset(("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"))
"""What a node of a cluster says that doesn't serve the lane just now."""
_TEMPORARY = frozenset(("LOADING", "MASTERDOWN", "READONLY", "NOREPLICAS", "NOAUTH", "BUSY"))
"""What Redis says that serves nobody just now."""
_MEMORY_PAUSE_S = 0.2
_LOGGED_EVERY_S = 1.0


class Pending(Protocol):
    """The requests that still wait for their outcome."""

    def __contains__(self, key: int) -> bool: ...

    def unsettled(self) -> Iterable[Ticket]: ...

    def fail(self, ticket: Ticket, error: PenstockError, failure: Failure) -> bool: ...


class Router(Protocol):
    """Who knows which shard of a cluster a lane is in."""

    def put(self, ticket: Ticket) -> None:
        """Enqueue it where its lane is."""

    def put_again(self, ticket: Ticket) -> None:
        """Enqueue it once more, wherever its lane is now."""

    def redirect(self, ticket: Ticket) -> None:
        """Enqueue what is not served where it was sent."""

    def doubt(self) -> None:
        """Look again who serves what."""


class LaneWriter:
    """Enqueues tickets in one Redis, or one shard of a cluster, on a connection which ``run`` keeps open.

    When Redis is away, everything waits; when it answers again as another process (``run_id``), every pending request
    is enqueued again, else only those whose XADD had no answer. Requests that may not be delivered twice fail instead.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[RespConnection]],
        pending: Pending,
        packer: TicketPacker,
        *,
        router: Router | None = None,
    ) -> None:
        """``connect`` finds the master and connects to it, or raises one of ``LOST``. A shard has a ``router``."""
        self.hand_over: Callable[[Ticket], bool] | None = None
        """Gives a request to an idle model process, if there is one."""
        self.reenqueued = 0
        """Requests that were enqueued again."""
        self.may_evict = False
        """Whether Redis throws requests away when its memory is full."""
        self._connect = connect
        self._pending = pending
        self._pack = packer.pack
        self._inline_limit_bytes = packer.inline_limit_bytes
        self._router = router
        self._run_id = ""
        self._connection: RespConnection | None = None
        self._waiting: dict[int, Ticket] = {}
        self._accepted: set[int] = set()
        """Keys of requests that are enqueued again: memory that is full is no reason to refuse them."""
        self._removals: list[tuple[str, bytes]] = []
        self._unanswered_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self._log_at = 0.0

    def put(self, ticket: Ticket) -> None:
        self._waiting[ticket.key] = ticket
        self._write_soon()

    def remove(self, ticket: Ticket) -> None:
        if self._waiting.pop(ticket.key, None) is not None:
            return
        ticket.is_unwanted = True
        if ticket.entry_id:
            self._removals.append((ticket.stream, ticket.entry_id))
            self._write_soon()

    def take_back(self, ticket: Ticket) -> None:
        """Enqueue what was handed over to a model process that died, leaves, or doesn't answer."""
        ticket.sent_ns = 0
        self._note_accepted([ticket])
        self.put(ticket)

    def lose(self, stream: str) -> None:
        """Hear that Redis no longer has what it took for a stream; enqueue all of it again."""
        lost = [ticket for ticket in self._pending.unsettled() if ticket.entry_id and ticket.stream == stream]
        _log.warning("Redis lost the entries of %s: enqueueing %d requests again", stream, len(lost))
        self.enqueue_again(lost)

    def compare(self, run_ids: Mapping[str, str]) -> bool:
        """Hear who somebody else takes for the master; connect anew, and return False, when it is another one."""
        agrees = self._connection is None or self._run_id in run_ids.values()
        if self._connection is not None and not agrees:
            self._connection.abort()
        return agrees

    async def run(self) -> None:
        """Keep the connection. Runs until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            started = self._loop.time()
            try:
                connection = await self._connect()
                try:
                    await self._greet(connection)
                    await connection.wait_lost()
                finally:
                    self._connection = None
                    await connection.close()
            except LOST as error:
                if self._loop.time() - started > 2 * _LAST_PAUSE_S:
                    pause_s = _FIRST_PAUSE_S
                _log.warning("lost Redis, connecting again in %s s: %s", pause_s, error)
                if self._router is not None:
                    self._router.doubt()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _greet(self, connection: RespConnection) -> None:
        server, memory = await connection.execute(("INFO", "server"), ("INFO", "memory"), within_s=ANSWER_S)
        run_id, policy = told(server, "run_id"), told(memory, "maxmemory_policy")
        if self._run_id and run_id != self._run_id:
            sent = (ticket for ticket in self._pending.unsettled() if ticket.is_sent)
            lost = [ticket for ticket in sent if ticket.key not in self._waiting]
            _log.warning("Redis is another one than before: enqueueing %d requests again", len(lost))
            self._removals.clear()
            self.enqueue_again(lost)
        self._run_id = run_id
        self.may_evict = policy.startswith("allkeys") and told(memory, "maxmemory") != "0"
        if self.may_evict:
            _log.warning(
                "Redis throws requests away when its memory is full: set maxmemory-policy to noeviction, not %s", policy
            )
        self._connection = connection
        self._write_soon()

    def _write_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        """Send what waits, unless too much is under way: then its answers lead here again."""
        self._is_due = False
        connection = self._connection
        if connection is None or connection.is_closed or self._unanswered_bytes >= _PIPELINE_BYTES:
            return
        if self._removals:
            removals, self._removals = self._removals, []
            packed = b"".join(hiredis.pack_command(("XDEL", *removal)) for removal in removals)
            connection.send(packed, len(removals), _ignore, within_s=ANSWER_S)
        if len(self._waiting) == 1 and self._hands_over(*self._waiting.values()):
            self._waiting.clear()
        if self._waiting:
            tickets, packed = self._take()
            self._unanswered_bytes += len(packed)
            take = partial(self._take_answers, connection, tickets, len(packed))
            within_s = ANSWER_S + self._unanswered_bytes / _SLOWEST_BYTES_PER_S
            connection.send(packed, len(tickets), take, within_s=within_s)

    def _hands_over(self, ticket: Ticket) -> bool:
        """Let a request that is alone in its lane go past it: so it takes one hop less each way."""
        if (
            ticket.lane.unsettled > 1
            or ticket.attempt > 1
            or ticket.lane.version.max_attempts < _HANDED_OVER_FROM
            or (len(ticket.message) > self._inline_limit_bytes and reference_of(ticket.message) is None)
            or self.hand_over is None
            or not self.hand_over(ticket)
        ):
            return False
        ticket.sent_ns = time.time_ns()
        return True

    def _take(self) -> tuple[list[Ticket], bytes]:
        tickets: list[Ticket] = []
        parts: list[bytes] = []
        room = _PIPELINE_BYTES
        for ticket in self._waiting.values():
            packed = self._pack(ticket)
            ticket.is_sent = True
            tickets.append(ticket)
            parts.append(packed)
            room -= len(packed)
            if room <= 0:
                break
        if len(tickets) == len(self._waiting):
            self._waiting.clear()
        else:
            for ticket in tickets:
                del self._waiting[ticket.key]
        return tickets, b"".join(parts)

    def _take_answers(
        self, connection: RespConnection, tickets: list[Ticket], size: int, answers: list[Any], error: Exception | None
    ) -> None:
        now_ns = time.time_ns()
        for ticket, answer in zip(tickets, answers, strict=error is None):
            if type(answer) is bytes:
                ticket.entry_id = answer
                ticket.sent_ns = ticket.sent_ns or now_ns
                if ticket.is_unwanted:
                    self.remove(ticket)
            else:
                self._take_refusal(connection, ticket, answer)
        self._unanswered_bytes -= size
        lost = (ticket for ticket in tickets[len(answers) :] if ticket.key in self._pending)
        self.enqueue_again([ticket for ticket in lost if ticket.key not in self._waiting])
        if self._waiting:
            self._write_soon()

    def _take_refusal(self, connection: RespConnection, ticket: Ticket, error: Exception) -> None:
        """Redis does not have this one, for certain."""
        word = str(error).partition(" ")[0]
        if ticket.key not in self._pending:
            return
        if word in _ELSEWHERE and self._router is not None:
            self._router.redirect(ticket)
        elif word in _TEMPORARY:
            self._stand_back(connection, error)
            self._waiting[ticket.key] = ticket
        elif word == "OOM" and ticket.key in self._accepted:
            self._loop.call_later(_MEMORY_PAUSE_S, self._retry, ticket)
        else:
            self._refuse(ticket, error, is_full=word == "OOM")

    def _stand_back(self, connection: RespConnection, error: Exception) -> None:
        """Write no more on a connection, and let ``run`` open another one when all that is under way is answered."""
        if self._connection is connection:
            _log.warning("Redis takes nothing just now: %s", error)
            self._connection = None
            connection.finish()

    def _retry(self, ticket: Ticket) -> None:
        if ticket.key in self._pending:
            (self._router or self).put(ticket)

    def _refuse(self, ticket: Ticket, error: Exception, *, is_full: bool) -> None:
        if self._loop.time() >= self._log_at:
            self._log_at = self._loop.time() + _LOGGED_EVERY_S
            _log.error("Redis refuses requests, as one for %s: %s", ticket.stream, error)
        refusal = (
            UnavailableError("the queue's memory is full", reason="QUEUE_MEMORY_FULL", retry_after_s=1)
            if is_full
            else UnavailableError("the queue refused the request", reason="QUEUE_REFUSED")
        )
        self._pending.fail(ticket, refusal, "REJECTED" if is_full else "OTHER")

    def give_up(self, ticket: Ticket) -> bool:
        """Let another shard have what waits here; False when it doesn't."""
        return self._waiting.pop(ticket.key, None) is not None

    def enqueue_again(self, lost: list[Ticket]) -> None:
        """What there may still be of them is removed first, so that little runs twice.

        Of those that are answered by streams, which have begun, nothing is lost.
        """
        lost = [ticket for ticket in lost if not ticket.responses]
        self._note_accepted(lost)
        for ticket in lost:
            if ticket.entry_id:
                self._removals.append((ticket.stream, ticket.entry_id))
                ticket.entry_id = b""
            if ticket.lane.version.max_attempts == 1:
                error = UnavailableError("the queue was lost, and the request may not run twice", reason="QUEUE_LOST")
                self._pending.fail(ticket, error, "OTHER")
            else:
                (self._router or self).put_again(ticket)

    def _note_accepted(self, tickets: list[Ticket]) -> None:
        still = (key for key in self._accepted if key in self._pending)
        self._accepted = {*still, *(ticket.key for ticket in tickets)}

    def put_again(self, ticket: Ticket) -> None:
        self.reenqueued += 1
        self.put(ticket)


def _ignore(_answers: list[Any], _error: Exception | None) -> None:
    """Removals are a courtesy."""
