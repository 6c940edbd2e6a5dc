"""Turns tickets into XADD commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.common import arms
from services.common.lanes import EntryPacker
from services.common.payloads import Reference, reference_of
from services.gateway.domain.tickets import Ticket


class Payloads(Protocol):
    """Shared memory."""

    def put(self, parts: Sequence[bytes | memoryview], size: int) -> memoryview | None: ...


class TicketPacker:
    """Packs for one gateway. ``reply_address`` must be set before the first ticket comes.

    Messages over ``inline_limit_bytes`` stay out of the lane.
    """

    def __init__(self, *, gateway_id: str, inline_limit_bytes: int, payloads: Payloads | None = None) -> None:
        self.reply_address = ""
        """Where model processes send replies."""
        self.inline_limit_bytes = inline_limit_bytes
        self._gateway_id = gateway_id
        self._payloads = payloads
        self._packers: dict[str, EntryPacker] = {}
        self._marked: dict[tuple[str, str, bool], EntryPacker] = {}
        """Of versions in a rollout, by stream, arm, and whether it was drawn."""

    def pack(self, ticket: Ticket) -> bytes:
        """One command."""
        stream, producer = ticket.stream, ticket.producer
        packer = self._packers.get(stream)
        if ticket.is_drawn or ticket.lane.arm:
            packer = self._marked_for(ticket)
        elif packer is None:
            packer = self._packers[stream] = EntryPacker(
                stream, gateway_id=self._gateway_id, reply_address=self.reply_address, priority=ticket.priority
            )
        payload = self._share(ticket)
        message = ticket.message
        is_inline = payload is None and len(message) <= self.inline_limit_bytes
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

    def _marked_for(self, ticket: Ticket) -> EntryPacker:
        key = ticket.stream, ticket.arm, ticket.is_drawn
        packer = self._marked.get(key)
        if packer is None:
            packer = self._marked[key] = EntryPacker(
                ticket.stream,
                gateway_id=self._gateway_id,
                reply_address=self.reply_address,
                priority=ticket.priority,
                arm=arms.NUMBERS[ticket.arm],
                is_drawn=ticket.is_drawn,
            )
        return packer

    def _share(self, ticket: Ticket) -> Reference | None:
        """Where a message lies in shared memory; a large one is put there, if it isn't yet and there is room."""
        message = ticket.message
        if len(message) > self.inline_limit_bytes and isinstance(message, bytes) and self._payloads is not None:
            message = ticket.message = self._payloads.put((message,), len(message)) or message
        return reference_of(message) if isinstance(message, memoryview) else None
