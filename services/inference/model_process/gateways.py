"""All gateways that wait for replies, each with its link; outcomes become reply messages here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from penstock.gateway.v1 import reply_service_pb2 as pb
from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.lanes import Entry
from services.common.payloads import PayloadStore
from services.common.status import code_of
from services.inference.model_process.flow import Flow
from services.inference.model_process.lane import Delivery
from services.inference.model_process.reply_link import ReplyLink
from services.inference.model_process.worker import BatchReport, Settled

K = TypeVar("K")

_CANCELLATIONS_KEPT = 65_536
_REPLACED_KEPT = 1_024
_MESSAGE_BYTES = 64 * 2**20
"""A message ends before the response that would pass this size."""


class ReplyStreams:
    """The gateways as the worker sees them, over gRPC.

    A gateway is known by its id: a new process at the same address is another gateway. Owned by one event loop;
    ``close`` ends every link.
    """

    def __init__(
        self,
        hello: pb.Hello,
        *,
        on_settled: Callable[[Sequence[Delivery]], None],
        on_handover: Callable[[Entry], bool],
        payloads: PayloadStore | None = None,
    ) -> None:
        self._hello = hello
        self._payloads = payloads
        self._on_settled = on_settled
        self._on_handover = on_handover
        self._links: dict[str, ReplyLink] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._replaced: dict[str, None] = {}
        self._cancelled: dict[tuple[str, int], None] = {}
        self._flows: dict[tuple[str, int], Flow] = {}
        """The streams that are being made, by gateway and request."""

    def is_gone(self, envelope: Envelope) -> bool:
        return envelope.gateway_id in self._replaced or self._link(envelope).is_gone

    def is_cancelled(self, envelope: Envelope) -> bool:
        return bool(self._cancelled) and (envelope.gateway_id, envelope.request_key) in self._cancelled

    async def fetch(self, envelope: Envelope) -> bytes | memoryview | None:
        link = self._link(envelope)
        shared = link.view(envelope)
        return await link.fetch(envelope.request_key, envelope.payload_bytes) if shared is None else shared

    def trim(self) -> bool:
        """Give back what shared memory holds for nothing; whether it holds more."""
        holds_more = [link.trim() for link in self._links.values()]
        if self._payloads is not None:
            holds_more.append(self._payloads.trim())
        return any(holds_more)

    def reply(self, settled: Sequence[Settled], report: BatchReport | None) -> None:
        by_gateway: dict[str, list[Settled]] = {}
        for one in settled:
            by_gateway.setdefault(one.delivery.entry.envelope.gateway_id, []).append(one)
        messages = (part for group in by_gateway.values() for part in _parts(group))
        for number, part in enumerate(messages):
            link = self._link(part[0].delivery.entry.envelope)
            message = _batch_reply(part, report, is_counted=number == 0, payloads=self._payloads_for(link))
            link.send(message, [one.delivery for one in part])

    def begin_stream(self, envelope: Envelope, flow: Flow) -> None:
        self._flows[envelope.gateway_id, envelope.request_key] = flow
        if self.is_cancelled(envelope) or self.is_gone(envelope):
            flow.end()

    def end_stream(self, envelope: Envelope) -> None:
        del self._flows[envelope.gateway_id, envelope.request_key]

    def respond(self, envelope: Envelope, index: int, response: bytes | memoryview) -> None:
        link, request = self._link(envelope), pb.ConnectRequest()
        message = request.stream_response
        message.request_key, message.index = envelope.request_key, index
        payloads = self._payloads_for(link)
        if payloads is not None and isinstance(response, memoryview):
            message.response_buffer, message.response_use = payloads.lend(response, envelope.gateway_id)
            message.response_bytes = len(response)
        else:
            message.response = bytes(response)
        link.send(request, (), is_stream_response=True)

    def _payloads_for(self, link: ReplyLink) -> PayloadStore | None:
        return self._payloads if link.reads_our_store and not link.is_gone else None

    def _link(self, envelope: Envelope) -> ReplyLink:
        gateway_id = envelope.gateway_id
        link = self._links.get(gateway_id)
        if link is None:
            link = self._links[gateway_id] = ReplyLink(
                envelope.reply_address,
                gateway_id,
                hello=self._hello,
                on_settled=self._on_settled,
                on_cancelled=lambda keys: self._cancel(gateway_id, keys),
                on_handover=lambda handover: self._take_handover(gateway_id, envelope.reply_address, handover),
                on_consumed=lambda news: self._consumed(gateway_id, news),
                on_gone=lambda: self._end_streams(gateway_id),
            )
            task = asyncio.create_task(link.run(), name=f"link to gateway {gateway_id}")
            self._tasks[gateway_id] = task
            task.add_done_callback(lambda _: self._forget(gateway_id))  # its gateway is gone
        return link

    def _take_handover(self, gateway_id: str, address: str, handover: pb.Handover) -> bool:
        handover.envelope.gateway_id, handover.envelope.reply_address = gateway_id, address
        return self._on_handover(
            Entry(
                handover.envelope,
                handover.request,
                handover.traceparent,
                handover.tracestate,
                handover.enqueue_ns,
                handover.deadline_ns,
            )
        )

    def _forget(self, gateway_id: str) -> None:
        if self._links.pop(gateway_id).is_replaced:
            _remember(self._replaced, [gateway_id], most=_REPLACED_KEPT)
        del self._tasks[gateway_id]
        if self._payloads is not None:
            self._payloads.discard(gateway_id)

    def _cancel(self, gateway_id: str, keys: Sequence[int]) -> None:
        _remember(self._cancelled, [(gateway_id, key) for key in keys], most=_CANCELLATIONS_KEPT)
        for key in keys if self._flows else ():
            if (flow := self._flows.get((gateway_id, key))) is not None:
                flow.end()

    def _consumed(self, gateway_id: str, news: pb.Consumption) -> None:
        if (flow := self._flows.get((gateway_id, news.request_key))) is not None:
            flow.note_taken(news.responses)

    def _end_streams(self, gateway_id: str) -> None:
        """Nobody is there any more to take their responses."""
        for (gateway, _), flow in self._flows.items():
            if gateway == gateway_id:
                flow.end()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until the gateways have all replies; False when that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                for link in list(self._links.values()):
                    await link.is_drained.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _remember(memory: dict[K, None], keys: Sequence[K], *, most: int) -> None:
    """Add keys to an ordered set; the oldest make room."""
    memory.update(dict.fromkeys(keys))
    while len(memory) > most:
        del memory[next(iter(memory))]


def _parts(group: Sequence[Settled]) -> Iterator[Sequence[Settled]]:
    """The outcomes of a batch for one gateway, in messages of a size that gRPC can carry."""
    begin = size = 0
    for at, one in enumerate(group):
        size += len(one.outcome.response)
        if size > _MESSAGE_BYTES and at > begin:
            yield group[begin:at]
            begin, size = at, len(one.outcome.response)
    yield group[begin:]


def _batch_reply(
    group: Sequence[Settled], report: BatchReport | None, *, is_counted: bool, payloads: PayloadStore | None
) -> pb.ConnectRequest:
    request = pb.ConnectRequest()
    message = request.batch_reply  # filled in place: a message given to another one's constructor is copied
    start_ns, add = 0 if report is None else report.start_ns, message.replies.add
    for one in group:
        entry, error = one.delivery.entry, one.outcome.error
        response = one.outcome.response
        lent = None
        if payloads is not None and isinstance(response, memoryview):
            lent = payloads.lend(response, entry.envelope.gateway_id)
        reply = add(
            request_key=entry.envelope.request_key,
            response=bytes(response) if lent is None else b"",
            rows=one.rows or entry.envelope.rows,
            attempt=one.delivery.attempt,
            queue_ns=max(0, start_ns - entry.enqueue_ns),
        )
        if lent is not None:
            reply.response_buffer, reply.response_use = lent
            reply.response_bytes = len(response)
        if error is not None:
            reply.code, reply.message, reply.reason = int(code_of(error).value[0]), error.message, error.reason
    if report is not None:
        message.batch_rows = report.rows
        message.is_execution_counted = is_counted
        message.batch_start_ns = report.start_ns
        message.compute_input_ns = report.execution.input_ns
        message.compute_infer_ns = report.execution.infer_ns
        message.compute_output_ns = report.execution.output_ns
        message.trace_id = report.span.trace_id
        message.span_id = report.span.span_id
    return request
