"""Sends spans on to another OTLP/gRPC receiver, for example Jaeger, without ever making the intake wait."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from penstock.otlp.v1.trace_pb2 import Resource, TraceRequest
from services.common.serving import CHANNEL_OPTIONS
from services.monitor.domain.ring import KeptSpan, Origin

_log = logging.getLogger(__name__)

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_ATTEMPTS = 10
_MAX_SPANS, _MAX_BYTES = 512, 1 << 20
"""Of a request, unless one span is larger: receivers take messages of 4 MiB."""
_RETRYABLE = frozenset({
    grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS,
})  # fmt: skip
"""What the OTLP specification lets a client repeat; RESOURCE_EXHAUSTED only with a RetryInfo in its details."""


class Forwarder:
    """A bounded queue of serialised requests before one sender. When it is full the oldest are dropped and counted."""

    def __init__(self, endpoint: str, *, max_bytes: int) -> None:
        self.results: Counter[str] = Counter(sent=0, dropped=0)
        """Spans by what became of them."""
        self._endpoint = endpoint
        self._max_bytes = max_bytes
        self._queue: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._is_filled = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._channel = grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        self._export: grpc.aio.UnaryUnaryMultiCallable[bytes, Any] = self._channel.unary_unary(
            _METHOD, request_serializer=None, response_deserializer=ExportTraceServiceResponse.FromString
        )

    def offer(self, spans: Sequence[KeptSpan]) -> None:
        """Queue spans; what made them goes with them, as it came."""
        for chosen in _parcels(spans):
            raw = encode(chosen)
            self._queue.append((raw, len(chosen)))
            self._bytes += len(raw)
        while self._bytes > self._max_bytes:
            self.results["dropped"] += self._take()[1]
        if self._queue:
            self._is_filled.set()
            self._is_idle.clear()

    def _take(self) -> tuple[bytes, int]:
        raw, spans = self._queue.popleft()
        self._bytes -= len(raw)
        return raw, spans

    async def work(self) -> None:
        """Send what is queued, for ever."""
        while True:
            await self._is_filled.wait()
            while self._queue:
                await self._deliver(*self._take())
            self._is_filled.clear()
            self._is_idle.set()

    async def _deliver(self, raw: bytes, spans: int) -> None:
        """Send one request, repeating it while that may help; then it is sent or dropped."""
        delivered = 0
        try:
            delivered = await self._attempt(raw, spans)
        finally:
            self.results["sent"] += delivered
            self.results["dropped"] += spans - delivered

    async def _attempt(self, raw: bytes, spans: int) -> int:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = await self._export(raw, timeout=_TIMEOUT_S)
                return max(0, spans - int(response.partial_success.rejected_spans))
            except grpc.aio.AioRpcError as error:
                if not _is_retryable(error) or attempt == _ATTEMPTS:
                    _log.warning("could not forward %s spans to %s: %s", spans, self._endpoint, error.details())
                    return 0
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return 0

    async def flush(self, timeout_s: float) -> None:
        """Wait until all is sent, for at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
        except TimeoutError:
            _log.warning("stopping with spans that %s did not take", self._endpoint)

    async def close(self) -> None:
        await self._channel.close()


def encode(spans: Iterable[KeptSpan]) -> bytes:
    """An ``ExportTraceServiceRequest`` of spans, each as it came."""
    by_origin: dict[Origin, list[bytes]] = defaultdict(list)
    for span in spans:
        by_origin[span.origin].append(span.raw)
    request = TraceRequest()
    for origin, raws in by_origin.items():
        group = request.resource_spans.add(schema_url=origin.resource_schema)
        if origin.resource:
            group.resource.CopyFrom(Resource.FromString(origin.resource))
        group.scope_spans.add(scope=origin.scope, schema_url=origin.scope_schema, spans=raws)
    return request.SerializeToString()


def _parcels(spans: Iterable[KeptSpan]) -> Iterator[list[KeptSpan]]:
    parcel: list[KeptSpan] = []
    size = 0
    for span in spans:
        if parcel and (len(parcel) >= _MAX_SPANS or size + len(span.raw) > _MAX_BYTES):
            yield parcel
            parcel, size = [], 0
        parcel.append(span)
        size += len(span.raw)
    if parcel:
        yield parcel


def _is_retryable(error: grpc.aio.AioRpcError) -> bool:
    """Without a RetryInfo, RESOURCE_EXHAUSTED is mostly a request over the receiver's size limit: it stays so."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.code() in _RETRYABLE
    try:
        status = rpc_status.from_call(error)
    except (DecodeError, ValueError):  # It contradicts itself, or is none: a proxy may have changed it.
        return False
    return status is not None and any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)
