"""The figures of one model version, added up from replies: the one source of ModelStatistics and of /metrics.

The counting rules are Triton's: a request of 8 rows counts as 1 success and 8 inferences; 8 requests of one row in one
batch are 8 successes, 8 inferences, 1 execution; every request of a batch adds the whole batch's compute times.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Failure = Literal["REJECTED", "CANCELED", "BACKEND", "OTHER"]
FAILURES: tuple[Failure, ...] = ("REJECTED", "CANCELED", "BACKEND", "OTHER")

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took in all."""

    count: int = 0
    ns: int = 0

    def copy(self) -> Duration:
        return Duration(self.count, self.ns)

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns * count


class Histogram:
    """Observations by bucket; ``counts`` has one more entry than ``bounds``, for what is above the last."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def copy(self) -> Histogram:
        copy = Histogram(self.bounds)
        copy.counts, copy.total = self.counts.copy(), self.total
        return copy

    def observe(self, value: float, count: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    def observe_all(self, values: Iterable[float]) -> None:
        counts, bounds, total = self.counts, self.bounds, 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total += total


@dataclass(slots=True)
class BatchSizeStatistics:
    """Compute times of the executions of one batch size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


class VersionStatistics:
    """Counters of one version since the gateway started; times are nanoseconds, histograms seconds."""

    def __init__(self) -> None:
        self.last_inference_ms = 0
        self.inference_count = 0
        self.execution_count = 0
        self.success = Duration()
        self.failures = {failure: Duration() for failure in FAILURES}
        self.queue = Duration()
        self.compute_input = Duration()
        self.compute_infer = Duration()
        self.compute_output = Duration()
        self.by_batch_size: dict[int, BatchSizeStatistics] = {}
        self.request_seconds = Histogram(SECONDS)
        self.queue_seconds = Histogram(SECONDS)
        self.compute_seconds = Histogram(SECONDS)
        self.batch_rows = Histogram(ROWS)
        self.cold_start_seconds = Histogram(SECONDS)
        """Of the first request for a version that was asleep, until a process took it."""

    def count_successes(self, *, request_ns: Sequence[int], queue_ns: Sequence[int], rows: int) -> None:
        """Count requests that were answered, of ``rows`` together, but for their shares of a batch."""
        self.inference_count += rows
        self.success.count += len(request_ns)
        self.success.ns += sum(request_ns)
        self.queue.count += len(queue_ns)
        self.queue.ns += sum(queue_ns)
        self.request_seconds.observe_all([ns * 1e-9 for ns in request_ns])
        self.queue_seconds.observe_all([ns * 1e-9 for ns in queue_ns])

    def count_batch(self, *, requests: int, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count the compute times of ``requests`` answered requests of one batch of ``rows``."""
        self.compute_input.add(input_ns, requests)
        self.compute_infer.add(infer_ns, requests)
        self.compute_output.add(output_ns, requests)
        self.compute_seconds.observe((input_ns + infer_ns + output_ns) * 1e-9, requests)
        self.batch_rows.observe(rows, requests)

    def count_execution(self, *, rows: int, input_ns: int, infer_ns: int, output_ns: int, now_ms: int) -> None:
        """Count one execution of a batch; ``now_ms`` is milliseconds of Unix time."""
        self.execution_count += 1
        self.last_inference_ms = now_ms
        size = self.by_batch_size.setdefault(rows, BatchSizeStatistics())
        size.compute_input.add(input_ns)
        size.compute_infer.add(infer_ns)
        size.compute_output.add(output_ns)

    def copy(self) -> VersionStatistics:
        """The figures as they are now; of executions by batch size, those of this object."""
        copy = VersionStatistics.__new__(VersionStatistics)
        for name, value in vars(self).items():
            setattr(copy, name, value.copy() if isinstance(value, (Duration, Histogram)) else value)
        copy.failures = {failure: duration.copy() for failure, duration in self.failures.items()}
        return copy

    def count_failure(self, failure: Failure, request_ns: int) -> None:
        self.failures[failure].add(request_ns)
        self.request_seconds.observe(request_ns * 1e-9)

    @property
    def settled(self) -> int:
        """All requests that ended."""
        return self.success.count + self.failed.count

    @property
    def failed(self) -> Duration:
        """All failures together."""
        failures = self.failures.values()
        return Duration(sum(one.count for one in failures), sum(one.ns for one in failures))
