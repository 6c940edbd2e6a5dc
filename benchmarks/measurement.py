"""One measurement, and the order in which many are made."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as oip

from benchmarks.load import METHOD, Load, LoadClient, LoadFailedError
from benchmarks.processes import CpuClock
from benchmarks.systems import System
from benchmarks.workloads import Workload

CHECKED_ROWS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured for how long. Rounds alternate between the systems, so that all of them see the same machine."""

    concurrencies: tuple[int, ...] = (1, 16, 64)
    rounds: int = 3
    seconds: float = 3.0

    @property
    def warm_up_s(self) -> float:
        return self.seconds / 3


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement, or the medians of several.

    ``cpu_us`` is CPU time per request by part of the system. ``strangers_share`` is the share of the machine that other
    programs took meanwhile: where it isn't near 0, the figures are worse than they need be.
    """

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    batch_rows: float
    cpu_us: Mapping[str, float]
    strangers_share: float

    @property
    def server_cpu_us(self) -> float:
        return sum(self.cpu_us.values())


@dataclass(frozen=True, slots=True)
class Result:
    """What one system did with one workload at one concurrency."""

    workload: str
    concurrency: int
    system: str
    rounds: tuple[Figures, ...]

    @property
    def median(self) -> Figures:
        def middle(figure: Callable[[Figures], float]) -> float:
            return statistics.median(map(figure, self.rounds))

        return Figures(
            requests=sum(one.requests for one in self.rounds),
            rate=middle(lambda one: one.rate),
            p50_ms=middle(lambda one: one.p50_ms),
            p99_ms=middle(lambda one: one.p99_ms),
            batch_rows=middle(lambda one: one.batch_rows),
            cpu_us={part: middle(lambda one, part=part: one.cpu_us[part]) for part in self.rounds[0].cpu_us},
            strangers_share=middle(lambda one: one.strangers_share),
        )

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "median": asdict(self.median)}


def measure(
    plan: Plan,
    workloads: Sequence[Workload],
    systems: Sequence[System],
    *,
    client: LoadClient,
    advance: Callable[[str], None],
) -> list[Result]:
    """Measure every system with every workload at every concurrency. ``advance`` is told before each step what it is.

    Raises:
        LoadFailedError: a request failed, or an answer was wrong.
    """
    results = []
    for workload in workloads:
        for concurrency in plan.concurrencies:
            trials = [Trial(system, workload, concurrency, client) for system in systems]
            for trial in trials:
                advance(f"{workload.name}, {concurrency} at a time: {trial.system.title} warms up")
                trial.warm_up(plan)
            for _ in range(plan.rounds):
                for trial in trials:
                    advance(f"{workload.name}, {concurrency} at a time: {trial.system.title}")
                    trial.run()
            for trial in trials:
                trial.check_answers()
                results.append(Result(workload.title, concurrency, trial.system.title, tuple(trial.figures)))
    return results


def steps_of(plan: Plan, workloads: Sequence[Workload], systems: Sequence[System]) -> int:
    """How often :func:`measure` advances."""
    return len(workloads) * len(plan.concurrencies) * len(systems) * (1 + plan.rounds)


class Trial:
    """One system under one load, round by round."""

    def __init__(self, system: System, workload: Workload, concurrency: int, client: LoadClient) -> None:
        self.system = system
        self.figures: list[Figures] = []
        self._workload = workload
        self._load = Load(system.address, workload.request(), concurrency)
        self._client = client
        self._requests = 50 * concurrency
        self._reply_size = 0

    def warm_up(self, plan: Plan) -> None:
        """Find out how many requests fill a round."""
        self.check_answers()
        rate = self._client.run(self._load, requests=self._requests).rate
        rate = self._client.run(self._load, requests=self._whole(rate * plan.warm_up_s)).rate
        self._requests = self._whole(rate * plan.seconds)

    def _whole(self, requests: float) -> int:
        return max(1, round(requests / self._load.concurrency)) * self._load.concurrency

    def run(self) -> None:
        """Measure one round. Every reply counts: by status and size at the client, by outcome at the server."""
        parts = self.system.parts(self._workload)
        counted, clock = self._counts(), CpuClock.read(parts)
        timing = self._client.run(self._load, requests=self._requests)
        spent = CpuClock.read(parts) - clock
        counts = self._counts() - counted
        if (counts.success, counts.failure) != (self._requests, 0) or not counts.executions:
            raise LoadFailedError(f"{self.system.title} counts {counts} for {self._requests} requests")
        if timing.reply_bytes != self._requests * self._reply_size:
            raise LoadFailedError(
                f"{self.system.title} sent {timing.reply_bytes} bytes, expected {self._requests} × {self._reply_size}"
            )
        self.figures.append(
            Figures(
                requests=self._requests,
                rate=timing.rate,
                p50_ms=timing.percentile_ms(50),
                p99_ms=timing.percentile_ms(99),
                batch_rows=counts.rows / counts.executions,
                cpu_us={part: seconds / self._requests * 1e6 for part, seconds in spent.parts.items()},
                strangers_share=spent.strangers_share,
            )
        )

    def _counts(self) -> Counts:
        with triton.InferenceServerClient(self.system.address) as server:
            return Counts.of(server.get_inference_statistics(self._workload.name))

    def check_answers(self) -> None:
        """Compare real answers with what they ought to be, and learn the size of a reply."""
        rows = self._workload.rows(CHECKED_ROWS)
        name, expected = self.system.answers(self._workload, rows)
        with triton.InferenceServerClient(self.system.address) as server:
            for row, right in zip(rows, expected, strict=True):
                tensor = triton.InferInput(self._workload.input_name, [1, len(row)], "FP32")
                tensor.set_data_from_numpy(row[np.newaxis])
                answer = server.infer(self._workload.name, [tensor]).as_numpy(name)
                if not np.allclose(answer, right[np.newaxis], rtol=1e-4, atol=1e-6):
                    raise LoadFailedError(f"{self.system.title} answers {answer}, expected {right}")
        with grpc.insecure_channel(self.system.address) as channel:
            self._reply_size = len(channel.unary_unary(METHOD)(self._load.body))


@dataclass(frozen=True, slots=True)
class Counts:
    """A model's counters, as ModelStatistics tells them."""

    success: int
    failure: int
    rows: int
    executions: int

    @classmethod
    def of(cls, answer: oip.ModelStatisticsResponse) -> Counts:
        versions = answer.model_stats
        return cls(
            success=sum(one.inference_stats.success.count for one in versions),
            failure=sum(one.inference_stats.fail.count for one in versions),
            rows=sum(one.inference_count for one in versions),
            executions=sum(one.execution_count for one in versions),
        )

    def __sub__(self, before: Counts) -> Counts:
        return Counts(*(getattr(self, name) - getattr(before, name) for name in self.__slots__))
