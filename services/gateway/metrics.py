"""``/metrics``: Triton's names and ours, rendered from the statistics that ModelStatistics answers from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.gateway.domain.lane import Lane
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.refusals import PENDING_BYTES_FULL
from services.gateway.domain.splits import Split
from services.gateway.domain.statistics import Histogram, VersionStatistics
from services.gateway.domain.versions import ServedVersion

_SCRAPE_TIMEOUT_S = 5.0

_COUNTERS: dict[str, tuple[str, Callable[[VersionStatistics], int]]] = {
    "nv_inference_request_success": ("Requests that were answered", lambda s: s.success.count),
    "nv_inference_count": ("Inferences (rows) performed", lambda s: s.inference_count),
    "nv_inference_exec_count": ("Batches executed", lambda s: s.execution_count),
    "nv_inference_request_duration_us": ("Time of requests, end to end", lambda s: s.success.ns // 1_000),
    "nv_inference_queue_duration_us": ("Time of requests in the queue", lambda s: s.queue.ns // 1_000),
    "nv_inference_compute_input_duration_us": ("Time of joining inputs", lambda s: s.compute_input.ns // 1_000),
    "nv_inference_compute_infer_duration_us": ("Time in the model", lambda s: s.compute_infer.ns // 1_000),
    "nv_inference_compute_output_duration_us": ("Time of splitting outputs", lambda s: s.compute_output.ns // 1_000),
}
_HISTOGRAMS: dict[str, tuple[str, Callable[[VersionStatistics], Histogram]]] = {
    "penstock_request_duration_seconds": ("Time of requests, end to end", lambda s: s.request_seconds),
    "penstock_queue_wait_seconds": ("Time of requests in the queue", lambda s: s.queue_seconds),
    "penstock_compute_duration_seconds": ("Time of requests' batches at work", lambda s: s.compute_seconds),
    "penstock_cold_start_seconds": (
        "Time until a version that was asleep took a request",
        lambda s: s.cold_start_seconds,
    ),
    "penstock_batch_rows": ("Rows of requests' batches", lambda s: s.batch_rows),
}


class LaneFigures(NamedTuple):
    """What a scrape sees of a lane."""

    version: ServedVersion
    statistics: VersionStatistics
    unsettled: int
    refused: Mapping[str, int]
    estimated_wait_s: float


class GatewayCollector(Collector):
    """Renders all metrics of the gateway, as they were at one moment.

    ``collect`` is called from the metrics server's thread while the event loop runs. The loop copies the figures only:
    to render those of 200 lanes takes 30 ms.
    """

    def __init__(
        self,
        *,
        lanes: Callable[[], Iterable[Lane]],
        pending_bytes: PendingBytes,
        reenqueued: Callable[[], int],
        is_ready: Callable[[], bool],
        is_redis_up: Callable[[], bool],
        may_evict: Callable[[], bool],
        worker_streams: Callable[[], int],
        splits: Callable[[], Iterable[Split]],
        rescued: Mapping[str, int],
        shadows: Mapping[tuple[str, str], int],
        spans: Callable[[], Mapping[str, int]],
    ) -> None:
        """``may_evict``: Redis' policy for full memory allows it. ``spans`` are counted by what became of them,
        ``rescued`` requests by model, ``shadows``, which are copies of requests, by model and outcome.
        """
        self._loop = asyncio.get_running_loop()
        self._lanes = lanes
        self._pending_bytes = pending_bytes
        self._reenqueued = reenqueued
        self._is_ready = is_ready
        self._is_redis_up = is_redis_up
        self._may_evict = may_evict
        self._worker_streams = worker_streams
        self._splits = splits
        self._rescued = rescued
        self._shadows = shadows
        self._spans = spans

    def collect(self) -> Iterable[Metric]:
        lanes, reenqueued, streams = asyncio.run_coroutine_threadsafe(self._look(), self._loop).result(
            _SCRAPE_TIMEOUT_S
        )
        held = self._pending_bytes.held
        return [
            *(_counter(name, text, lanes, read) for name, (text, read) in _COUNTERS.items()),
            _failures(lanes),
            _refusals(lanes, self._pending_bytes.refused),
            _pending(lanes),
            _waits(lanes),
            GaugeMetricFamily("penstock_gateway_pending_bytes", "Bytes of requests under way", float(held)),
            *(_histogram(name, text, lanes, read) for name, (text, read) in _HISTOGRAMS.items()),
            CounterMetricFamily("penstock_gateway_reenqueued", "Requests enqueued again", float(reenqueued)),
            GaugeMetricFamily("penstock_gateway_ready", "Whether requests are taken", float(self._is_ready())),
            GaugeMetricFamily("penstock_gateway_redis_up", "Whether Redis answers", float(self._is_redis_up())),
            GaugeMetricFamily(
                "penstock_gateway_redis_may_evict", "Whether Redis may drop requests", float(self._may_evict())
            ),
            GaugeMetricFamily("penstock_gateway_worker_streams", "Open reply streams", float(streams)),
            _shares(self._splits()),
            _by_model("penstock_gateway_rescued", "Requests answered by the baseline instead", dict(self._rescued)),
            _of_copies(dict(self._shadows)),
            _of_spans(self._spans()),
        ]

    async def _look(self) -> tuple[list[LaneFigures], int, int]:
        now = self._loop.time()
        lanes = [
            LaneFigures(
                lane.version,
                lane.statistics.copy(),
                lane.unsettled,
                dict(lane.refused),
                lane.estimated_wait_s(now=now),
            )
            for lane in self._lanes()
        ]
        return lanes, self._reenqueued(), self._worker_streams()


def _counter(name: str, text: str, lanes: Iterable[LaneFigures], read: Callable[[VersionStatistics], int]) -> Metric:
    metric = Metric(name, text, "unknown")  # a "counter" would be renamed to …_total
    for lane in lanes:
        metric.add_sample(name, _labels(lane), read(lane.statistics))
    return metric


def _failures(lanes: Iterable[LaneFigures]) -> Metric:
    metric = Metric("nv_inference_request_failure", "Requests that failed", "unknown")
    for lane in lanes:
        for reason, duration in lane.statistics.failures.items():
            metric.add_sample(metric.name, _labels(lane) | {"reason": reason}, duration.count)
    return metric


def _pending(lanes: Iterable[LaneFigures]) -> Metric:
    metric = GaugeMetricFamily("nv_inference_pending_request_count", "Requests waiting or running")
    for lane in lanes:
        metric.add_sample(metric.name, _labels(lane), lane.unsettled)
    return metric


def _refusals(lanes: Iterable[LaneFigures], unread: int) -> Metric:
    """``unread`` were refused before it was known for which model they were."""
    labels = ("model", "version", "reason")
    metric = CounterMetricFamily("penstock_gateway_refusals", "Requests that were not taken, for now", labels=labels)
    for lane in lanes:
        for reason, count in lane.refused.items():
            metric.add_metric((lane.version.model, lane.version.version, reason), count)
    metric.add_metric(("", "", PENDING_BYTES_FULL), unread)
    return metric


def _waits(lanes: Iterable[LaneFigures]) -> Metric:
    metric = GaugeMetricFamily("penstock_gateway_estimated_wait_seconds", "Time that a request would take now")
    for lane in lanes:
        metric.add_sample(metric.name, _labels(lane), lane.estimated_wait_s)
    return metric


def _shares(splits: Iterable[Split]) -> Metric:
    labels = ("model", "version")
    metric = GaugeMetricFamily("penstock_gateway_split_share", "Share of a version in a rollout", labels=labels)
    for split in splits:
        share = split.candidate_share
        for lane, part in ((split.candidate, share), (split.baseline, 1 - share)):
            metric.add_metric((lane.version.model, lane.version.version), part)
    return metric


def _by_model(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    metric = CounterMetricFamily(name, text, labels=("model",))
    for model, count in counts.items():
        metric.add_metric((model,), count)
    return metric


def _of_copies(counts: Mapping[tuple[str, str], int]) -> Metric:
    labels = ("model", "outcome")
    metric = CounterMetricFamily("penstock_gateway_shadow", "Copies of requests for candidates", labels=labels)
    for key, count in counts.items():
        metric.add_metric(key, count)
    return metric


def _of_spans(counts: Mapping[str, int]) -> Metric:
    metric = CounterMetricFamily("penstock_gateway_spans", "Spans made, by what became of them", labels=("result",))
    for result, count in counts.items():
        metric.add_metric((result,), count)
    return metric


def _histogram(
    name: str, text: str, lanes: Iterable[LaneFigures], read: Callable[[VersionStatistics], Histogram]
) -> Metric:
    metric = HistogramMetricFamily(name, text, labels=("model", "version"))
    for lane in lanes:
        histogram = read(lane.statistics)
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        metric.add_metric((lane.version.model, lane.version.version), buckets, histogram.total)
    return metric


def _labels(lane: LaneFigures) -> dict[str, str]:
    return {"model": lane.version.model, "version": lane.version.version}
