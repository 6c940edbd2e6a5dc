"""Traces whose spans are made after the fact, from plain integers.

The hot path carries a :class:`TraceContext` (W3C Trace Context) and nanosecond timestamps only. Whoever wants a span
builds it at the end with :class:`SpanExporter`; ids are known beforehand, so a span may be decided on late.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource

from services.common.discovery.addresses import split
from services.common.discovery.peers import Peers
from services.common.grpc_stream import OK, UNAVAILABLE, CallEndedError, GrpcStream
from services.common.http2 import Connection, Limits, connect
from services.common.span_encoding import AttributeValue, SpanKind, encode_origin, encode_request, encode_span
from services.common.trace_context import TraceContext

__all__ = ["AttributeValue", "SpanExporter", "SpanKind", "TraceContext"]

_log = logging.getLogger(__name__)

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PERIOD_S = 1.0
_TIMEOUT_S = 5.0
_LAST_SPANS_S = 3.0
_RETRY_S = 0.2
_AVOID_S = 10.0
"""How long a receiver that failed is the last to be tried."""
_MAX_BATCH, _MAX_BATCH_BYTES = 512, 1 << 20
"""Spans in a message, and the bytes from which on none is added: receivers take messages of 4 MiB."""
_MAX_QUEUED_BYTES = 16 << 20
# Receivers of other makes send clients away that ping often. A call's own limit of time finds a lost connection.
_LIMITS = Limits(keepalive_s=3_600)


class SpanExporter:
    """Encodes finished spans and sends them in batches, by OTLP/gRPC, from the event loop that it is made in.

    Never blocks and never fails the caller: when the receiver is away or slow, spans are dropped. Of several receivers
    the first gets them, and the next only while that fails, so that all processes choose the same. What the process is
    comes from OpenTelemetry's SDK, which adds ``OTEL_RESOURCE_ATTRIBUTES``. Its span processor and exporter take 40 µs
    for a span, much of it in a thread that holds the interpreter for milliseconds; this takes 5, and no thread.
    """

    def __init__(
        self, *, receivers: Peers, service: str, instance: str, version: str, max_queued: int = 16_384
    ) -> None:
        """Without any receiver at first, it drops everything, and needs no event loop."""
        self._receivers = receivers
        self._max_queued = max_queued
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self.results: Counter[str] = Counter(sent=0, dropped=0)
        """What became of spans."""
        self.pending = 0
        """Spans of which that isn't known yet."""
        self._is_filled = asyncio.Event()
        self._is_closing = asyncio.Event()
        self._connection: Connection | None = None
        self._connected_to = ""
        self._failed_at: dict[str, float] = {}
        self._sender: asyncio.Task[None] | None = None
        if receivers.addresses:
            names = {"service.name": service, "service.version": version, "service.instance.id": instance}
            described: dict[str, Any] = dict(Resource.create(names).attributes)
            self._origin = encode_origin(described, scope="penstock", version=version)
            self._sender = asyncio.get_running_loop().create_task(self._run(), name="span exporter")

    @property
    def is_enabled(self) -> bool:
        return self._sender is not None

    def export(
        self,
        name: str,
        context: TraceContext,
        *,
        kind: SpanKind,
        start_ns: int,
        end_ns: int,
        parent: TraceContext | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        more: bytes = b"",
        links: Sequence[TraceContext] = (),
        error: str | None = None,
    ) -> None:
        """Send one finished span; the arguments are those of :func:`encode_span`."""
        if self._sender is None:
            return
        if len(self._queue) >= self._max_queued or self._queued_bytes >= _MAX_QUEUED_BYTES:
            self.results["dropped"] += 1
            return
        span = encode_span(
            name,
            context,
            kind=kind,
            start_ns=start_ns,
            end_ns=end_ns,
            parent=parent,
            attributes=attributes,
            more=more,
            links=links,
            error=error,
        )
        self._queue.append(span)
        self.pending += 1
        self._queued_bytes += len(span)
        self._is_filled.set()

    async def close(self) -> None:
        """Send what is queued, for a few seconds at most, and stop."""
        if self._sender is None:
            return
        self._is_closing.set()
        self._is_filled.set()
        _, late = await asyncio.wait([self._sender], timeout=_LAST_SPANS_S)
        if late:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        if self._connection is not None:
            self._connection.abort()

    async def _run(self) -> None:
        is_away = False
        while self._queue or not self._is_closing.is_set():
            await self._is_filled.wait()
            await _wait(self._is_closing, _PERIOD_S)
            self._is_filled.clear()
            while self._queue:
                spans = self._next_batch()
                try:
                    await self._send(encode_request(self._origin, spans))
                    self.results["sent"] += len(spans)
                    is_away = False
                except Exception as error:  # noqa: BLE001 - whatever it was, the next spans may fare better
                    self.results["dropped"] += len(spans)
                    if not is_away:
                        is_bug = not isinstance(error, (OSError, CallEndedError))
                        _log.warning(
                            "spans can't be sent to %s, and are dropped: %s", self._receivers, error, exc_info=is_bug
                        )
                    is_away = True
                self.pending -= len(spans)

    def _next_batch(self) -> list[bytes]:
        spans: list[bytes] = []
        room = _MAX_BATCH_BYTES
        while self._queue and len(spans) < _MAX_BATCH and room > 0:
            spans.append(self._queue.popleft())
            room -= len(spans[-1])
        self._queued_bytes -= _MAX_BATCH_BYTES - room
        return spans

    async def _send(self, message: bytes) -> None:
        """Have a receiver take a message, waiting for a while until one is there.

        Raises:
            OSError, CallEndedError: none can be reached, or it refused; TimeoutError: it didn't answer.
        """
        give_up_at = time.monotonic() + _TIMEOUT_S
        for attempt in itertools.count(1):
            receivers = len(self._receivers.addresses)
            reason = await self._offer(message, self._choose(), timeout_s=_TIMEOUT_S / receivers)
            if reason is None:
                return
            asked_s = reason.retry_after_s if isinstance(reason, CallEndedError) else None
            pause_s = min(asked_s or _RETRY_S, max(0.0, give_up_at - time.monotonic()))
            is_last = await _wait(self._is_closing, pause_s) and attempt >= receivers
            if is_last or time.monotonic() >= give_up_at:
                raise reason

    async def _offer(self, message: bytes, address: str, *, timeout_s: float) -> Exception | None:
        """Send a message to a receiver; return why it can't take it now. Raises CallEndedError if it never will."""
        reason: Exception
        try:
            async with asyncio.timeout(timeout_s):
                call = GrpcStream(await self._connected(address), _EXPORT, authority=address, on_message=lambda _: None)
                call.send(message, is_last=True)
                reason = await call.ended
        except TimeoutError:
            reason = TimeoutError(f"no answer within {timeout_s:g} s")
        except OSError as error:
            reason = error
        if isinstance(reason, CallEndedError) and reason.code != UNAVAILABLE:
            if reason.code == OK:
                return None
            if reason.retry_after_s is None:
                raise reason
            return reason  # it is there, and has no room for the moment
        self._fail(address)
        return reason

    def _choose(self) -> str:
        """The first receiver that didn't fail of late, or else the one whose failure is the longest ago."""
        now = time.monotonic()

        def rank(address: str) -> float:
            failed_at = self._failed_at.get(address, 0.0)
            return failed_at if now - failed_at < _AVOID_S else 0.0

        return min(self._receivers.addresses, key=rank)

    async def _connected(self, address: str) -> Connection:
        if self._connection is None or self._connection.is_closing or self._connected_to != address:
            if self._connection is not None:
                self._connection.abort()
            host, port = split(address)
            self._connection, self._connected_to = None, address
            self._connection = await connect(host, port, limits=_LIMITS)
        return self._connection

    def _fail(self, address: str) -> None:
        """Go elsewhere for a while, if there is another receiver."""
        self._failed_at = {one: at for one, at in self._failed_at.items() if one in self._receivers.addresses}
        self._failed_at[address] = time.monotonic()
        if self._connection is not None:
            self._connection.abort()  # nobody may be at its other end any more


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait until ``event`` is set, at most so long; whether it is."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return event.is_set()
