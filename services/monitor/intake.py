"""Between the wire and the analysis: a bounded queue, so that taking spans in is quick and never waits."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.common.errors import InvalidArgumentError, ResourceExhaustedError
from services.monitor import otlp
from services.monitor.domain.blocks import Batch

_CHUNK_SPANS = 512
"""Spans analysed at once: about 4 ms."""
_BUDGET_S = 0.01
"""How long the analysis goes on before the event loop gets a turn."""
RETRY_AFTER_S = 1
"""When a sender may come again that was sent away."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What of a request was not taken in, and why; ``spans`` is 0 when all was."""

    spans: int
    reason: str


class _Chunk(NamedTuple):
    """Spans that are analysed together; ``came_s`` by the intake's clock."""

    readings: Sequence[otlp.Reading]
    size_bytes: int
    came_s: float


class Intake:
    """Reads requests, queues what they hold, and feeds it to the analysis.

    ``analyse`` gets chunks of readings, in order, and must not block for long.
    """

    def __init__(
        self,
        analyse: Callable[[Sequence[otlp.Reading]], None],
        *,
        max_spans: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` gives seconds and is never set."""
        self.results: Counter[str] = Counter(batch=0, request=0, foreign=0, malformed=0, dropped=0, refused=0)
        """Spans by what became of them. Of those that were refused for now, the sender may send some again."""
        self._analyse = analyse
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._clock = clock
        self._queue: deque[_Chunk] = deque()
        self._spans = self._bytes = 0
        self._is_filled = asyncio.Event()

    @property
    def waiting_spans(self) -> int:
        return self._spans

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    @property
    def lag_s(self) -> float:
        """How long what is analysed next has waited; safe to use from another thread."""
        try:
            return self._clock() - self._queue[0].came_s
        except IndexError:
            return 0.0

    def offer(self, request: TraceRequest) -> Refusal:
        """Take a request in. While the queue is full it is refused before it costs anything.

        Raises:
            InvalidArgumentError: it has more resources and scopes than so many spans could have.
            ResourceExhaustedError: the queue is full now; repeating the request may work.
        """
        most = 2 * self._max_spans  # each span may have a resource and a scope of its own
        if (holders := otlp.holder_count(request, most=most)) > most:
            raise InvalidArgumentError(f"got {holders} resources and scopes or more, expected at most {most}")
        offered, size = otlp.span_count(request), request.ByteSize()
        if offered > self._max_spans or size > self._max_bytes:
            self.results["dropped"] += offered
            return Refusal(
                offered,
                f"got {offered} spans in {size} bytes at once, expected at most {self._max_spans} "
                f"and {self._max_bytes}",
            )
        if self._spans + offered > self._max_spans or self._bytes + size > self._max_bytes:
            self.results["refused"] += offered
            raise ResourceExhaustedError(
                f"the intake queue is full with {self._spans} spans", retry_after_s=RETRY_AFTER_S
            )
        readings = otlp.read(request)
        self.results["malformed"] += readings.malformed
        for reading in readings.spans:
            self.results[_kind(reading)] += 1
        self._enqueue(readings.spans)
        return Refusal(readings.malformed, readings.error)

    def _enqueue(self, spans: list[otlp.Reading]) -> None:
        for start in range(0, len(spans), _CHUNK_SPANS):
            chunk = spans[start : start + _CHUNK_SPANS]
            size = sum(reading.span.size_bytes for reading in chunk)
            self._queue.append(_Chunk(chunk, size, self._clock()))
            self._spans += len(chunk)
            self._bytes += size
        self._is_filled.set()

    async def work(self) -> None:
        """Analyse what is queued, for ever, in slices that leave room for everything else."""
        while True:
            await self._is_filled.wait()
            self._is_filled.clear()
            while self._queue:
                self._work_until(time.monotonic() + _BUDGET_S)
                await asyncio.sleep(0)

    def drain(self) -> None:
        """Analyse all that is queued, before the end."""
        while self._queue:
            self._work_until(float("inf"))

    def _work_until(self, deadline: float) -> None:
        while self._queue and time.monotonic() < deadline:
            chunk = self._queue.popleft()
            self._spans -= len(chunk.readings)
            self._bytes -= chunk.size_bytes
            self._analyse(chunk.readings)


def _kind(reading: otlp.Reading) -> str:
    if not reading.is_ours:
        return "foreign"
    return "batch" if isinstance(reading.observation, Batch) else "request"
