"""Writes requests into lanes: all of one event-loop turn in one pipeline, again after Redis lost them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import hiredis
from redis.exceptions import RedisError

from services.common.errors import PenstockError, UnavailableError
from services.common.lanes import EntryPacker
from services.common.payloads import Reference, reference_of
from services.common.resp import RespConnection, run_id_of
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Ticket

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 1.0
_ANSWER_S = 5.0
_PIPELINE_BYTES = 8 * 1024 * 1024
"""A pipeline ends after the entry that passes this size, and none begins while this much has no answer."""
_HANDED_OVER_FROM = 3
"""Attempts that a request must have to be handed over: with a process that dies of another one, one more is lost."""
_TEMPORARY = ("LOADING ", "MASTERDOWN ", "READONLY ", "NOAUTH ")


class Payloads(Protocol):
    """Shared memory."""

    def put(self, parts: Sequence[bytes | memoryview], size: int) -> memoryview | None: ...


class Pending(Protocol):
    """The requests that still wait for their outcome."""

    def __contains__(self, key: int) -> bool: ...

    def unsettled(self) -> Iterable[Ticket]: ...

    def fail(self, ticket: Ticket, error: PenstockError, failure: Failure) -> bool: ...


class LaneWriter:
    """Enqueues tickets on a connection of its own, which ``run`` keeps open.

    When Redis is away, everything waits; when it answers again as another process (``run_id``), every pending request
    is enqueued again, else only those whose XADD had no answer. Requests that may not be delivered twice fail instead.
    """

    def __init__(
        self, url: str, pending: Pending, *, gateway_id: str, inline_limit_bytes: int, payloads: Payloads | None = None
    ) -> None:
        self.reply_address = ""
        """Where model processes send replies; must be set before the first ticket comes."""
        self.hand_over: Callable[[Ticket], bool] | None = None
        """Gives a request to an idle model process, if there is one."""
        self.reenqueued = 0
        """Requests that were enqueued again."""
        self._url = url
        self._pending = pending
        self._gateway_id = gateway_id
        self._inline_limit_bytes = inline_limit_bytes
        self._payloads = payloads
        self._run_id = ""
        self._connection: RespConnection | None = None
        self._waiting: dict[int, Ticket] = {}
        self._removals: list[tuple[str, bytes]] = []
        self._unanswered_bytes = 0
        self._packers: dict[str, EntryPacker] = {}
        self._loop = asyncio.get_running_loop()
        self._is_due = False

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
        self.put(ticket)

    def note_run_id(self, run_id: str) -> None:
        """Hear which process Redis is; enqueue everything again when it is another one than before."""
        if self._run_id and run_id != self._run_id:
            sent = (ticket for ticket in self._pending.unsettled() if ticket.is_sent)
            lost = [ticket for ticket in sent if ticket.key not in self._waiting]
            _log.warning("Redis was restarted: enqueueing %d requests again", len(lost))
            self._removals.clear()
            self._enqueue_again(lost)
        self._run_id = run_id

    async def run(self) -> None:
        """Keep the connection. Runs until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                connection = await RespConnection.open(self._url, within_s=_ANSWER_S)
                try:
                    await self._greet(connection)
                    pause_s = _FIRST_PAUSE_S
                    await connection.wait_lost()
                finally:
                    self._connection = None
                    await connection.close()
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("lost Redis, connecting again in %s s: %s", pause_s, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _greet(self, connection: RespConnection) -> None:
        (info,) = await connection.execute(("INFO", "server"), within_s=_ANSWER_S)
        self.note_run_id(run_id_of(info))
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
            connection.send(packed, len(removals), _ignore, within_s=_ANSWER_S)
        if len(self._waiting) == 1 and self._hands_over(*self._waiting.values()):
            self._waiting.clear()
        if self._waiting:
            tickets, packed = self._take()
            self._unanswered_bytes += len(packed)
            take = partial(self._take_answers, connection, tickets, len(packed))
            connection.send(packed, len(tickets), take, within_s=_ANSWER_S)

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
        now_ns, again = time.time_ns(), tickets[len(answers) :]
        for ticket, answer in zip(tickets, answers, strict=error is None):
            if type(answer) is bytes:
                ticket.entry_id = answer
                ticket.sent_ns = ticket.sent_ns or now_ns
                if ticket.is_unwanted:
                    self.remove(ticket)
            elif str(answer).startswith(_TEMPORARY):
                connection.abort()
                again.append(ticket)
            else:
                self._refuse(ticket, answer)
        self._unanswered_bytes -= size
        lost = (ticket for ticket in again if ticket.key in self._pending)
        self._enqueue_again([ticket for ticket in lost if ticket.key not in self._waiting])
        if self._waiting:
            self._write_soon()

    def _refuse(self, ticket: Ticket, error: Exception) -> None:
        _log.error("Redis refused a request for %s: %s", ticket.stream, error)
        self._pending.fail(ticket, UnavailableError("the queue refused the request", reason="QUEUE_REFUSED"), "OTHER")

    def _enqueue_again(self, lost: list[Ticket]) -> None:
        for ticket in lost:
            if ticket.lane.version.max_attempts == 1:
                error = UnavailableError("the queue was lost, and the request may not run twice", reason="QUEUE_LOST")
                self._pending.fail(ticket, error, "OTHER")
            else:
                ticket.entry_id = b""
                self.reenqueued += 1
                self.put(ticket)

    def _pack(self, ticket: Ticket) -> bytes:
        stream, producer = ticket.stream, ticket.producer
        packer = self._packers.get(stream)
        if packer is None:
            packer = self._packers[stream] = EntryPacker(
                stream, gateway_id=self._gateway_id, reply_address=self.reply_address, priority=ticket.priority
            )
        payload = self._share(ticket)
        message = ticket.message
        is_inline = payload is None and len(message) <= self._inline_limit_bytes
        return packer.pack(
            bytes(message) if is_inline else b"",
            key=ticket.key,
            request_id=ticket.request_id,
            rows=ticket.rows,
            payload_bytes=0 if is_inline else len(message),
            payload=payload or (0, 0),
            is_sampled=producer.is_sampled,
            traceparent=producer.traceparent,
            tracestate=ticket.arrival.tracestate,
            enqueue_ns=ticket.enqueue_ns,
            deadline_ns=ticket.deadline_ns,
            attempt=ticket.attempt,
        )

    def _share(self, ticket: Ticket) -> Reference | None:
        """Where a message lies in shared memory; a large one is put there, if it isn't yet and there is room."""
        message = ticket.message
        if len(message) > self._inline_limit_bytes and isinstance(message, bytes) and self._payloads is not None:
            message = ticket.message = self._payloads.put((message,), len(message)) or message
        return reference_of(message) if isinstance(message, memoryview) else None


def _ignore(_answers: list[Any], _error: Exception | None) -> None:
    """Removals are a courtesy."""
