"""The model processes that reply to this gateway, and what is said to them over their streams."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.gateway.v1.reply_service_pb2 import BatchReply, Cancellation, ConnectResponse, Consumption, Hello, Receipt
from services.common import arms
from services.common.payloads import PayloadReader, Reference, reference_of
from services.gateway.domain.sequences import SequenceWindow
from services.gateway.domain.tickets import Ticket

_RECEIPT_DELAY_S = 0.02
"""Replies of this long share a receipt."""
_QUICK_NS = 1_000_000
"""Processes whose batches take longer get nothing past the lane: what it holds for them would wait meanwhile."""
_MOST_COUNTED_NS = 3_000_000
"""A single batch may have waited for the processor."""
_MEAN_OVER = 8


class Worker:
    """One consumer, over all the streams that it opens; a restarted model process is another consumer."""

    def __init__(self, hello: Hello) -> None:
        self.model = hello.model
        self.version = hello.version
        self.takes_handovers = hello.takes_handovers
        self.reader = PayloadReader.of(hello.payload_store) if hello.payload_store else None
        """Of its shared memory; None where that can't be reached."""
        self.window = SequenceWindow()
        self.streams: list[Stream] = []
        self.is_decoupled = hello.is_decoupled
        self.begun: set[int] = set()
        """Keys of requests of which it gave responses; some may be settled."""
        self.left_at = 0.0
        self._mean_ns = _MOST_COUNTED_NS

    @property
    def lane_key(self) -> tuple[str, str]:
        return self.model, self.version

    def borrow(self, reply: Any) -> memoryview | None:
        """A response in its shared memory; None: it isn't there."""
        if self.reader is None:
            return None
        return self.reader.borrow(Reference(reply.response_buffer, reply.response_use), reply.response_bytes)

    def report(self, key: int, taken: int) -> None:
        """Tell it how many responses a caller has taken; what it doesn't hear it hears when it connects again."""
        if self.streams:
            self.streams[-1].report(key, taken)

    @property
    def is_quick(self) -> bool:
        return self._mean_ns < _QUICK_NS

    def note_batch(self, batch: BatchReply) -> None:
        """Learn from how long a batch took; nothing was executed for one without rows."""
        if batch.batch_rows:
            took_ns = batch.compute_input_ns + batch.compute_infer_ns + batch.compute_output_ns
            self._mean_ns += (min(took_ns, _MOST_COUNTED_NS) - self._mean_ns) // _MEAN_OVER


class Stream:
    """The gateway's side of one open stream: what there is to say, said at most every 20 ms; requests at once.

    ``handed_over`` are the requests that it got past the lane and has not answered.
    """

    def __init__(self, worker: Worker, context: Any) -> None:
        self.worker = worker
        self.handed_over: dict[int, Ticket] = {}
        self.is_fresh = True
        """Whether no batch came over it so far."""
        self._takes_handovers = worker.takes_handovers and hasattr(context, "say")  # a server of grpcio has none
        self._context = context
        self._request = ConnectResponse()
        self._is_marked = False
        """Whether the last handover said something of a rollout."""
        self._cancelled: list[int] = []
        self._taken: dict[int, int] = {}
        """How many responses callers of streams have taken, to be said."""
        self._owes_receipt = False
        self._has_news = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def takes_requests(self) -> bool:
        """Whether a request may be handed over: the process has none, and will soon be done with it."""
        return self._takes_handovers and not self.handed_over and self.worker.is_quick

    def hand_over(self, ticket: Ticket) -> None:
        """Give a request to the model process, past the lane."""
        self.handed_over[ticket.key] = ticket
        handover = self._request.handover  # used again and again: making one takes longer than filling it
        envelope = handover.envelope
        envelope.request_key, envelope.request_id = ticket.key, ticket.request_id
        envelope.rows, envelope.priority = ticket.rows, ticket.priority
        envelope.is_sampled = ticket.producer.is_sampled
        if ticket.is_drawn or ticket.lane.arm or self._is_marked:
            envelope.arm, envelope.is_drawn = arms.NUMBERS[ticket.arm], ticket.is_drawn
            self._is_marked = ticket.is_drawn or bool(ticket.arm)
        handover.traceparent, handover.tracestate = ticket.producer.traceparent, ticket.arrival.tracestate
        handover.enqueue_ns, handover.deadline_ns = ticket.enqueue_ns, ticket.deadline_ns
        reference = reference_of(ticket.message)
        handover.request = bytes(ticket.message) if reference is None else b""
        envelope.payload_bytes = 0 if reference is None else len(ticket.message)
        envelope.payload_buffer, envelope.payload_use = reference or (0, 0)
        self._context.say(self._request)

    def note_refusal(self, key: int) -> Ticket | None:
        """The process leaves, and did not take this request."""
        self._takes_handovers = False
        return self.handed_over.pop(key, None)

    def note_replies(self, batch: BatchReply) -> None:
        if self.handed_over:
            for reply in batch.replies:
                self.handed_over.pop(reply.request_key, None)

    def owe_receipt(self) -> None:
        self._owes_receipt = True
        self._has_news.set()

    def cancel(self, key: int) -> None:
        self._cancelled.append(key)
        self._has_news.set()

    def report(self, key: int, taken: int) -> None:
        """Say how many responses a caller has taken; at once where the server can: it may be waited for."""
        if hasattr(self._context, "say"):
            self._context.say(_consumption(key, taken))
        else:
            self._taken[key] = taken
            self._has_news.set()

    async def run(self) -> None:
        """Send what is owed. Runs until cancelled."""
        while True:
            await self._has_news.wait()
            await asyncio.sleep(_RECEIPT_DELAY_S)
            await self.flush()

    async def flush(self) -> None:
        async with self._writing:
            self._has_news.clear()
            if self._cancelled:
                keys, self._cancelled = self._cancelled, []
                await self._context.write(ConnectResponse(cancellation=Cancellation(request_keys=keys)))
            taken, self._taken = self._taken, {}
            for key, responses in taken.items():
                await self._context.write(_consumption(key, responses))
            if self._owes_receipt:
                self._owes_receipt = False
                await self._context.write(ConnectResponse(receipt=Receipt(sequence=self.worker.window.contiguous)))


def _consumption(key: int, responses: int) -> ConnectResponse:
    return ConnectResponse(consumption=Consumption(request_key=key, responses=responses))
