"""Writes requests into lanes: all of one event-loop turn in one pipeline, again after Redis lost them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from itertools import chain
from typing import Protocol

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, MasterDownError, ReadOnlyError, RedisError, ResponseError

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common import lanes
from services.common.errors import PenstockError, UnavailableError
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Ticket

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 1.0
_PIPELINE_TIMEOUT_S = 5.0
_PIPELINE_BYTES = 8 * 1024 * 1024
"""A pipeline ends after the entry that passes this size."""
_TEMPORARY = (BusyLoadingError, MasterDownError, ReadOnlyError)


class Pending(Protocol):
    """The requests that still wait for their outcome."""

    def __contains__(self, key: int) -> bool: ...

    def unsettled(self) -> Iterable[Ticket]: ...

    def fail(self, ticket: Ticket, error: PenstockError, failure: Failure) -> bool: ...


class LaneWriter:
    """Enqueues tickets on a connection of its own. ``run`` must be running; one pipeline is under way at a time.

    While it is, the next one gathers. When Redis is away, everything waits; when it answers again as another process
    (``run_id``), every pending request is enqueued again, else only those whose XADD had no answer. Requests that may
    not be delivered twice fail instead.
    """

    def __init__(self, redis: Redis, pending: Pending, *, gateway_id: str, inline_limit_bytes: int) -> None:
        self.reply_address = ""
        """Where model processes send replies; must be set before the first ticket comes."""
        self.reenqueued = 0
        """Requests that were enqueued again."""
        self._redis = redis
        self._pending = pending
        self._gateway_id = gateway_id
        self._inline_limit_bytes = inline_limit_bytes
        self._run_id = ""
        self._waiting: dict[int, Ticket] = {}
        self._removals: list[tuple[str, bytes]] = []
        self._has_work = asyncio.Event()

    def put(self, ticket: Ticket) -> None:
        self._waiting[ticket.key] = ticket
        self._has_work.set()

    def remove(self, ticket: Ticket) -> None:
        if self._waiting.pop(ticket.key, None) is None and ticket.entry_id:
            self._removals.append((ticket.lane.keys.stream(ticket.priority), ticket.entry_id))
            self._has_work.set()

    def note_run_id(self, run_id: str) -> None:
        """Hear which process Redis is; enqueue everything again when it is another one than before."""
        if self._run_id and run_id != self._run_id:
            lost = [ticket for ticket in self._pending.unsettled() if ticket.is_sent]
            _log.warning("Redis was restarted: enqueueing %d requests again", len(lost))
            self._removals.clear()
            self._enqueue_again(lost)
        self._run_id = run_id

    async def run(self) -> None:
        """Write what comes, through losses of the connection. Runs until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            connection = self._redis.connection_pool.make_connection()
            connection.socket_timeout = None  # one timeout for a pipeline instead of one for each answer
            try:
                await self._greet(connection)
                pause_s = _FIRST_PAUSE_S
                while True:
                    await self._has_work.wait()
                    await self._write(connection)
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("lost Redis, connecting again in %s s: %s", pause_s, error)
            finally:
                await connection.disconnect(nowait=True)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _greet(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(_PIPELINE_TIMEOUT_S):
            await connection.connect()
            await connection.send_command("INFO", "server")
            self.note_run_id(_run_id_of(await connection.read_response()))

    async def _write(self, connection: AbstractConnection) -> None:
        """Send one pipeline and take its answers in; what has no answer waits for the next connection."""
        tickets, removals = self._take()
        try:
            async with asyncio.timeout(_PIPELINE_TIMEOUT_S):
                await connection.send_packed_command(
                    [hiredis.pack_command(("XDEL", stream, entry_id)) for stream, entry_id in removals]
                    + [self._pack(ticket) for ticket in tickets],
                    check_health=False,
                )
                for _ in removals:
                    await connection.read_response()
                for ticket in tickets:
                    await self._take_answer(ticket, connection)
        except BaseException:
            self._enqueue_again([ticket for ticket in tickets if not ticket.entry_id and ticket.key in self._pending])
            raise

    def _take(self) -> tuple[list[Ticket], list[tuple[str, bytes]]]:
        size, tickets = 0, []
        for ticket in self._waiting.values():
            tickets.append(ticket)
            size += min(len(ticket.message), self._inline_limit_bytes)
            if size > _PIPELINE_BYTES:
                break
        for ticket in tickets:
            del self._waiting[ticket.key]
            ticket.is_sent = True
        removals, self._removals = self._removals, []
        if not self._waiting:
            self._has_work.clear()
        return tickets, removals

    async def _take_answer(self, ticket: Ticket, connection: AbstractConnection) -> None:
        try:
            ticket.entry_id = await connection.read_response()
        except _TEMPORARY:
            raise
        except ResponseError as error:
            _log.error("Redis refused a request for %s: %s", ticket.lane.keys.stream(ticket.priority), error)
            refusal = UnavailableError("the queue refused the request", reason="QUEUE_REFUSED")
            self._pending.fail(ticket, refusal, "OTHER")
            return
        if not ticket.sent_ns:
            ticket.sent_ns = time.time_ns()
        if ticket.key not in self._pending:
            self.remove(ticket)

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
        is_inline = len(ticket.message) <= self._inline_limit_bytes
        envelope = Envelope(
            request_key=ticket.key,
            gateway_id=self._gateway_id,
            reply_address=self.reply_address,
            request_id=ticket.request_id,
            rows=ticket.rows,
            priority=ticket.priority,
            payload_bytes=0 if is_inline else len(ticket.message),
            is_sampled=ticket.producer.is_sampled,
        )
        fields = lanes.encode(
            lanes.Entry(
                envelope=envelope,
                request=ticket.message if is_inline else b"",
                traceparent=ticket.producer.traceparent,
                tracestate=ticket.arrival.tracestate,
                enqueue_ns=ticket.enqueue_ns,
                deadline_ns=ticket.deadline_ns,
            )
        )
        stream = ticket.lane.keys.stream(ticket.priority)
        packed: bytes = hiredis.pack_command(("XADD", stream, "*", *chain.from_iterable(fields.items())))
        return packed


def _run_id_of(info: bytes) -> str:
    for line in info.splitlines():
        if line.startswith(b"run_id:"):
            return line[7:].decode("ascii")
    raise RedisError("Redis's answer to INFO has no run_id")
