"""A receiver of spans, and what the spans of sampled requests say of each stage's wall time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean
from types import TracebackType
from typing import Self, TypeVar

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

T = TypeVar("T")


class Collector(TraceServiceServicer):
    """Takes spans by OTLP/gRPC: the monitor forwards here what it gets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(1))
        add_TraceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.stop(None)

    def Export(self, request: ExportTraceServiceRequest, _: object) -> ExportTraceServiceResponse:
        spans = [span for r in request.resource_spans for scope in r.scope_spans for span in scope.spans]
        with self._lock:
            self._spans += spans
        return ExportTraceServiceResponse()

    def take(self) -> list[Span]:
        """What came since the last time."""
        with self._lock:
            taken, self._spans = self._spans, []
        return taken


@dataclass(frozen=True, slots=True)
class Walls:
    """Means of wall time by stage, in µs per request, over the middle 80 % of sampled ones; and requests in a batch."""

    by_stage: dict[str, float]
    in_gateway: float
    requests: int
    batch_requests: float


def walls_of(spans: Iterable[Span]) -> Walls:
    """Put each sampled request's spans together: SERVER and PRODUCER of the gateway, CONSUMER and batch of the worker.

    The stages from "admit" to "reply" follow each other and add up to the SERVER span, which ends when the reply is
    taken up. Redis may give an entry away before the gateway has read its answer: then "enqueue" ends there.
    """
    batches: dict[bytes, Span] = {}
    requests: dict[bytes, dict[int, Span]] = defaultdict(dict)
    for span in spans:
        if span.kind == Span.SPAN_KIND_CONSUMER and span.name.startswith("batch "):
            batches[span.span_id] = span
        else:
            requests[span.trace_id][span.kind] = span
    found: list[dict[str, float]] = []
    for one in requests.values():
        server, producer = one.get(Span.SPAN_KIND_SERVER), one.get(Span.SPAN_KIND_PRODUCER)
        consumer = one.get(Span.SPAN_KIND_CONSUMER)
        batch = batches.get(consumer.links[0].span_id) if consumer is not None and consumer.links else None
        if server is None or producer is None or consumer is None or batch is None:
            continue
        found.append(_stages(server, producer, batch))
    if not found:
        return Walls({}, 0.0, 0, 0.0)
    found = list(middle(sorted(found, key=lambda one: sum(one.values()))))
    means = {stage: fmean(one[stage] for one in found) for stage in found[0]}
    in_batches = sum(_integer(one, "messaging.batch.message_count") for one in batches.values())
    executed = sum(_integer(one, "penstock.batch.count") or 1 for one in batches.values())
    return Walls(means, sum(means.values()), len(found), in_batches / executed)


def middle(ordered: Sequence[T]) -> Sequence[T]:
    """Without the lowest and the highest tenth: a few stalls would outweigh all else in a mean."""
    tenth = len(ordered) // 10
    return ordered[tenth : len(ordered) - tenth]


def _stages(server: Span, producer: Span, batch: Span) -> dict[str, float]:
    cut, done = batch.start_time_unix_nano, batch.end_time_unix_nano
    sent = min(producer.end_time_unix_nano, cut)
    collate, run, split = (_integer(batch, f"penstock.compute.{part}_ns") for part in ("input", "infer", "output"))
    hand_over = max(0, done - cut - collate - run - split)
    stages = {
        "admit": producer.start_time_unix_nano - server.start_time_unix_nano,
        "enqueue": sent - producer.start_time_unix_nano,
        "queue": cut - sent,
        "collate": collate,
        "run": run + hand_over,
        "split": split,
        "reply": server.end_time_unix_nano - done,
    }
    return {stage: nanoseconds / 1_000 for stage, nanoseconds in stages.items()}


def _integer(span: Span, name: str) -> int:
    return next((int(one.value.int_value) for one in span.attributes if one.key == name), 0)
