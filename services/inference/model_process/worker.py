"""The loop of a model process: cut a batch, run it, hand over the replies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.boundary import internal_message
from services.common.errors import CancelledByCallerError, InternalError, PenstockError, UnavailableError
from services.common.trace_context import TraceContext
from services.inference.domain.batching import Backlog, BatchPolicy, Regrouping
from services.inference.model_process.ahead import ReadAhead
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.execution import Execution, Executor, Outcome, Pick
from services.inference.model_process.lane import Delivery, Lane
from services.inference.model_process.large_requests import LargeRequests, PayloadSource
from services.inference.model_process.tensors import Bucket, Tensors

_log = logging.getLogger(__name__)

POISON_MESSAGE = "POISON_MESSAGE"
DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"

_FRESH_NS = 1_000_000
"""Requests that were looked at so recently are run without a second look."""


class Request:
    """A delivery whose content was read. A suspect shares its batch with nobody and goes first."""

    __slots__ = ("bucket", "delivery", "rows", "tensors", "urgency")

    def __init__(self, delivery: Delivery, tensors: Tensors) -> None:
        entry = delivery.entry
        self.delivery = delivery
        self.tensors = tensors
        self.rows = tensors.form.rows
        self.bucket: Bucket | None = None if delivery.is_suspect else tensors.form.bucket
        self.urgency = (-1 if delivery.is_suspect else entry.envelope.priority), entry.enqueue_ns


@dataclass(slots=True)
class Settled:
    """A delivery and how it ended. ``is_abandoned`` when nobody waited for the outcome any more."""

    delivery: Delivery
    outcome: Outcome
    rows: int = 0
    is_abandoned: bool = False


def drawn_among(settled: Sequence[Settled]) -> int:
    """How many of these requests a rollout gave to this version: their callers did not."""
    return sum([one.delivery.entry.envelope.is_drawn for one in settled])


@dataclass(slots=True)
class BatchReport:
    """An executed batch. Instants are nanoseconds of Unix time; ``close_reason`` is "full", "drained" or "delay".

    ``requests`` are those that were settled, in their order.
    """

    settled: Sequence[Settled]
    execution: Execution
    rows: int
    start_ns: int
    end_ns: int
    close_reason: str
    span: TraceContext
    requests: Sequence[Request] = ()


@dataclass(slots=True)
class Batch:
    """Requests that were cut. ``given_up`` are those of them that nobody waited for any more when its turn came."""

    requests: Sequence[Request]
    close_reason: str
    cut_ns: int
    given_up: Sequence[Request] = ()

    @property
    def rows(self) -> int:
        return sum([one.rows for one in self.requests])

    def tensors(self) -> list[Tensors]:
        return [one.tensors for one in self.requests]


Running = tuple[Batch, Awaitable[Execution]]


class Gateways(PayloadSource, Protocol):
    """The gateways that wait for replies."""

    def is_gone(self, envelope: Envelope) -> bool:
        """True when nobody is there any more to take the reply."""

    def is_cancelled(self, envelope: Envelope) -> bool:
        """True when the caller left."""

    def reply(self, settled: Sequence[Settled], report: BatchReport | None) -> None:
        """Hand over outcomes; the deliveries are settled on the lane when their gateway has them. Returns at once."""


@runtime_checkable
class Streamer(Protocol):
    """Runs a decoupled model, one request at a time, and sends its responses."""

    async def stream(self, request: Request) -> Execution:
        """Never raises because of the request or the model: that is the outcome, whose response is empty."""


class Observer(Protocol):
    """Whoever keeps figures and spans."""

    def batch_began(self, requests: int, start_ns: int) -> None: ...

    def batch_ended(self, report: BatchReport) -> None: ...

    def refused(self, settled: Sequence[Settled]) -> None: ...


class Prober(Protocol):
    """Whoever probes the model while nothing waits for it."""

    def due_in_s(self) -> float: ...

    @property
    def is_overdue(self) -> bool: ...

    async def probe(self) -> None: ...


Begin = Callable[[Batch, Pick], Coroutine[None, None, Execution]]


def _together(executor: Executor) -> Begin:
    return lambda _, pick: executor.run(pick)


def _alone(streamer: Streamer) -> Begin:
    return lambda batch, _: streamer.stream(batch.requests[0])


class Worker:
    """Takes from one lane and runs on one executor, one batch at a time.

    The next batch is cut only when the executor is free: while it is busy requests gather in the lane, and batches grow
    by themselves. They are read shortly before a long batch ends, and looked at again before they run. Those that fill
    a batch are handed to the executor at once, which goes on to them without a pause.
    """

    def __init__(
        self,
        lane: Lane,
        gateways: Gateways,
        *,
        executor: Executor | Streamer,
        decoder: Decoder,
        policy: BatchPolicy,
        max_attempts: int,
        observer: Observer,
        prober: Prober | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._prober = prober
        self._probe_timer: asyncio.TimerHandle | None = None
        self._is_probe_due = False
        self._lane = lane
        self._gateways = gateways
        self._decoder = decoder
        self._policy = policy
        self._max_attempts = max_attempts
        self._observer = observer
        self._now_ns = now_ns
        self._backlog: Backlog[Request] = Backlog(policy.max_rows)
        self._regrouping = Regrouping()
        self._ahead = ReadAhead(self._take_ahead, now_ns)
        self._screened_ns = 0
        """When the request in hand was looked at that is longest here."""
        self._is_stopping = False
        self._is_streaming = isinstance(executor, Streamer)
        self._begin = _alone(executor) if isinstance(executor, Streamer) else _together(executor)
        self._next: Running | None = None
        """What the executor was given while it ran another batch."""
        self._ended_ns = 0
        self._large = LargeRequests(gateways, lane, refuse=self._refuse)

    async def serve(self) -> None:
        """Serve until :meth:`stop`, then finish what is in hand."""
        self._expect_probe()
        while not self._is_stopping or self._next or self._backlog or await self._take_rest():
            running, self._next = self._next or await self._due(), None
            if running is not None:
                await self._finish(*running)
            if self._is_probe_due and self._prober is not None and self._may_probe(self._prober, is_idle=not running):
                self._is_probe_due = False
                await self._prober.probe()
                self._expect_probe()

    def _expect_probe(self) -> None:
        """Have the next probe end a wait for requests, if there is one when it is due."""
        if self._prober is not None:
            self._probe_timer = asyncio.get_running_loop().call_later(self._prober.due_in_s(), self._note_probe)

    def _note_probe(self) -> None:
        self._is_probe_due = True
        self._lane.nudge()

    def _may_probe(self, prober: Prober, *, is_idle: bool) -> bool:
        """A probe waits while requests do, for a while."""
        if self._is_stopping or self._next is not None:
            return False
        return prober.is_overdue or (is_idle and not self._backlog)

    async def stop(self) -> None:
        """Stop taking; :meth:`serve` returns soon."""
        self._is_stopping = True
        if self._probe_timer is not None:
            self._probe_timer.cancel()
        await self._lane.wake()

    async def _due(self) -> Running | None:
        """Begin the next batch when it is due; None where nothing is left of it."""
        close_reason = await self._gather()
        if self._regrouping.is_long:
            self._regrouping.batch_cut(self._backlog.arrivals, now_ns=self._now_ns())
        batch = self._cut(close_reason)
        return None if batch is None else (batch, self._begin(batch, batch.tensors))

    def _cut(self, close_reason: str) -> Batch | None:
        requests = self._backlog.cut()
        now_ns = self._now_ns()
        if now_ns - self._screened_ns > _FRESH_NS:
            requests = self._screen(requests)
        return Batch(requests, close_reason, now_ns) if requests else None

    async def _gather(self) -> str:
        """Take requests until a batch is due; returns why it is."""
        has_taken = has_waited = False
        if not self._backlog and not self._is_stopping:
            await self._take(self._policy.max_rows, wait_s=0 if self._is_probe_due else None)
            has_taken = True  # all there is: asking again would cost a lone request a round trip
        while self._backlog and not self._is_stopping:
            rows = self._backlog.rows
            if rows >= self._policy.max_rows:
                return "full"
            now_ns = self._now_ns()
            age_s = (now_ns - self._backlog.head.delivery.entry.enqueue_ns) / 1e9
            wait_s = self._policy.due_in(rows=rows, oldest_age_s=age_s)
            if self._regrouping.is_on:
                hold_s = self._regrouping.due_in(rows=rows, earlier_rows=self._earlier_rows(), now_ns=now_ns)
                wait_s = max(wait_s, hold_s)
            if not wait_s and has_waited:
                return "delay"
            if not wait_s and has_taken:
                break
            await self._take(self._policy.max_rows - rows, wait_s=wait_s)
            if not wait_s:
                break
            has_waited = True
        return "full" if self._backlog.rows >= self._policy.max_rows else "drained"

    def _earlier_rows(self) -> int:
        return self._backlog.rows_until(self._regrouping.since_ns)

    async def _take(self, count: int, *, wait_s: float | None) -> None:
        await self._accept(await self._lane.take(count, wait_s=wait_s))

    async def _take_rest(self) -> bool:
        """Take what was delivered although this process stops; whether there was, or is to come, something."""
        await self._large.finish()
        await self._accept(await self._lane.rest())
        return bool(self._backlog or self._large.are_coming)

    async def _accept(self, deliveries: Sequence[Delivery]) -> None:
        deliveries = self._screen_deliveries(deliveries)
        if any(not one.entry.request for one in deliveries):
            deliveries = await self._large.opened(deliveries)
        for delivery in deliveries:
            try:
                self._backlog.add(Request(delivery, self._decoder.decode(delivery.entry.request)))
            except PenstockError as error:
                self._refuse(delivery, error)
            except Exception as error:  # noqa: BLE001 - one request must not take the process along
                self._refuse(delivery, InternalError(internal_message(error)))

    async def _take_ahead(self) -> None:
        room = self._policy.max_rows - self._backlog.rows
        if room > 0 and not self._is_stopping:
            await self._take(room, wait_s=0)
        is_owed = self._is_probe_due and self._prober is not None and self._prober.is_overdue
        if not is_owed and self._backlog.rows >= self._policy.max_rows and (batch := self._cut("full")) is not None:
            self._next = batch, asyncio.create_task(self._begin(batch, partial(self._pick, batch)), name="next batch")

    def _pick(self, batch: Batch) -> list[Tensors]:
        """What is still worth running when the batch's turn has come; called in the executor's thread."""
        now_ns = self._now_ns()
        batch.given_up = [one for one in batch.requests if self._is_abandoned(one, now_ns)]
        batch.requests = [one for one in batch.requests if one not in batch.given_up]
        return batch.tensors()

    def _screen(self, requests: Sequence[Request]) -> list[Request]:
        """Those that are still worth running; the others are settled."""
        alive = {id(one) for one in self._screen_deliveries([request.delivery for request in requests])}
        return [request for request in requests if id(request.delivery) in alive]

    def _screen_deliveries(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        now_ns, alive = self._now_ns(), []
        if not self._backlog:
            self._screened_ns = now_ns
        for delivery in deliveries:
            envelope = delivery.entry.envelope
            if self._gateways.is_gone(envelope):
                self._lane.settle([delivery])
            elif self._gateways.is_cancelled(envelope):
                self._refuse(delivery, CancelledByCallerError("the caller left"))
            elif delivery.is_suspect and delivery.attempt > self._max_attempts:
                error = f"the request was given to a model process {delivery.attempt - 1} times, and each time it died"
                _log.error("%s: it goes to the dead letters", error)
                self._lane.bury(delivery, POISON_MESSAGE)
                self._refuse(delivery, InternalError(error, reason=POISON_MESSAGE))
            elif delivery.entry.deadline_ns <= now_ns:
                late_ms = (now_ns - delivery.entry.deadline_ns) / 1e6
                error = f"the request's deadline passed {late_ms:.0f} ms ago, while it waited in the queue"
                self._refuse(delivery, UnavailableError(error, reason=DEADLINE_EXCEEDED))
            else:
                alive.append(delivery)
        return alive

    def _refuse(self, delivery: Delivery, error: PenstockError) -> None:
        settled = [Settled(delivery, Outcome(error=error))]
        self._gateways.reply(settled, None)
        self._observer.refused(settled)

    async def _finish(self, batch: Batch, execution: Awaitable[Execution]) -> None:
        start_ns = max(batch.cut_ns, self._ended_ns)
        self._observer.batch_began(len(batch.requests), start_ns)
        if not self._is_streaming:  # nobody knows how long a stream takes, and others may be free
            execution = self._ahead.beside(execution, rows=batch.rows, since_ns=start_ns)
        self._settle(batch, await execution, start_ns)
        await self._ahead.finish()

    def _settle(self, batch: Batch, execution: Execution, start_ns: int) -> None:
        self._ended_ns = end_ns = self._now_ns()
        if batch.given_up:
            for request in self._screen(batch.given_up):
                self._backlog.add(request)
        if not batch.requests:
            return
        report = BatchReport(
            [
                Settled(request.delivery, outcome, request.rows, is_abandoned=self._is_abandoned(request, end_ns))
                for request, outcome in zip(batch.requests, execution.outcomes, strict=True)
            ],
            execution,
            batch.rows,
            start_ns,
            end_ns,
            batch.close_reason,
            TraceContext.new_root(is_sampled=True),
            batch.requests,
        )
        self._gateways.reply(report.settled, report)
        # Once the replies have left, which they do at the end of this turn of the event loop.
        asyncio.get_running_loop().call_soon(self._observer.batch_ended, report)
        self._regrouping.batch_ended(rows=report.rows, start_ns=start_ns, end_ns=end_ns)

    def _is_abandoned(self, request: Request, now_ns: int) -> bool:
        entry = request.delivery.entry
        return entry.deadline_ns <= now_ns or self._gateways.is_cancelled(entry.envelope)
