"""One measurement: a system under one load, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.load import CONNECTIONS, H2load, Load, LoadFailedError, Timing
from benchmarks.processes import CpuClock, resident_mb
from benchmarks.systems import Counts, System
from benchmarks.wire import Api
from benchmarks.workloads import Workload

CHECKED_ROWS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """How long is measured. Rounds alternate between the systems, so that all of them see the same machine."""

    rounds: int = 3
    seconds: float = 3.0

    @property
    def warm_up_s(self) -> float:
        return self.seconds / 3


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement, or the medians of several.

    ``batch_rows`` is 0 where the server doesn't tell. ``cpu_us`` is CPU time per request by part of the system.
    ``memory_mb`` is what all its processes hold at the end (PSS). ``strangers_share`` is the share of the machine that
    other programs took meanwhile: where it isn't near 0, the figures are worse than they need be.
    """

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    batch_rows: float
    cpu_us: Mapping[str, float]
    memory_mb: float
    strangers_share: float

    @property
    def server_cpu_us(self) -> float:
        return sum(self.cpu_us.values())


def median_of(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure; requests are added up."""

    def middle(figure: Callable[[Figures], float]) -> float:
        return statistics.median(map(figure, rounds))

    return Figures(
        requests=sum(one.requests for one in rounds),
        rate=middle(lambda one: one.rate),
        p50_ms=middle(lambda one: one.p50_ms),
        p99_ms=middle(lambda one: one.p99_ms),
        batch_rows=middle(lambda one: one.batch_rows),
        cpu_us={part: middle(lambda one, part=part: one.cpu_us[part]) for part in rounds[0].cpu_us},
        memory_mb=middle(lambda one: one.memory_mb),
        strangers_share=middle(lambda one: one.strangers_share),
    )


@dataclass(frozen=True, slots=True)
class Result:
    """What one system did with one workload at one concurrency."""

    workload: str
    concurrency: int
    system: str
    rounds: tuple[Figures, ...]

    @property
    def median(self) -> Figures:
        return median_of(self.rounds)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "median": asdict(self.median)}


def strangers_share(results: Sequence[Result]) -> float:
    """Mean share of the machine that other programs took, 0 to 1."""
    return statistics.fmean([one.strangers_share for result in results for one in result.rounds] or [0.0])


class Trial:
    """One system under one load. Use: :meth:`warm_up`, then :meth:`run` for each round, then :meth:`result`."""

    def __init__(
        self,
        system: System,
        workload: Workload,
        concurrency: int,
        *,
        client: H2load,
        connections: int = CONNECTIONS,
    ) -> None:
        self.system = system
        self.workload = workload
        self.concurrency = concurrency
        self._api = system.api(workload)
        self.load = Load(self._api.call(workload.rows(1)), concurrency, connections)
        self._client = client
        self.requests = 2 * concurrency
        self._reply_size = 0
        self._figures: list[Figures] = []

    def warm_up(self, plan: Plan) -> None:
        """Check the answers, and find out how many requests fill a round."""
        self._reply_size = check_answers(self.system.title, self._api, self.workload)
        for seconds in (plan.warm_up_s / 10, plan.warm_up_s, plan.seconds):
            rate = self._client.run(self.load, requests=self.requests).rate
            self.requests = max(2, round(rate * seconds / self.load.concurrency)) * self.load.concurrency

    def run(self) -> Figures:
        """Measure one round. Every reply counts: by status and size at the client, by outcome at the server.

        Raises:
            LoadFailedError: a request failed, or an answer was wrong.
        """
        figures = observe(
            self.system,
            self.workload,
            lambda: self._client.run(self.load, requests=self.requests),
            reply_size=self._reply_size,
        )
        self._figures.append(figures)
        return figures

    def result(self) -> Result:
        """All rounds; the answers are checked once more.

        Raises:
            LoadFailedError: an answer is wrong.
        """
        check_answers(self.system.title, self._api, self.workload)
        return Result(self.workload.title, self.load.concurrency, self.system.title, tuple(self._figures))


def observe(system: System, workload: Workload, send: Callable[[], Timing], *, reply_size: int) -> Figures:
    """What a load that ``send`` makes meets, and costs. Every reply is to have ``reply_size`` bytes.

    Raises:
        LoadFailedError: a request failed, or an answer was wrong.
    """
    parts = system.parts(workload)
    counted, clock = system.counts(workload), CpuClock.read(parts)
    timing = send()
    spent = CpuClock.read(parts) - clock
    requests = len(timing.latencies_us)
    batch_rows = _batch_rows(system, counted, system.counts(workload), requests=requests)
    _check_size(system, workload, timing.reply_bytes / requests, expected=reply_size)
    return Figures(
        requests=requests,
        rate=timing.rate,
        p50_ms=timing.percentile_ms(50),
        p99_ms=timing.percentile_ms(99),
        batch_rows=batch_rows,
        cpu_us={part: seconds / requests * 1e6 for part, seconds in spent.parts.items()},
        memory_mb=resident_mb(process for processes in parts.values() for process in processes),
        strangers_share=spent.strangers_share,
    )


def _batch_rows(system: System, before: Counts | None, after: Counts | None, *, requests: int) -> float:
    if before is None or after is None:
        return 0.0
    counts = after - before
    if (counts.success, counts.failure) != (requests, 0) or not counts.executions:
        raise LoadFailedError(f"{system.title} counts {counts} for {requests} requests")
    return counts.rows / counts.executions


def _check_size(system: System, workload: Workload, mean: float, *, expected: int) -> None:
    tolerance = 0 if system.api(workload).is_size_fixed else 0.05 * expected
    if abs(mean - expected) > tolerance:
        raise LoadFailedError(f"{system.title}: replies of {mean:.1f} bytes, expected {expected}")


def check_answers(title: str, api: Api, workload: Workload) -> int:
    """Compare real answers with the model's own; returns the size of the reply to the first row.

    Raises:
        LoadFailedError: an answer is wrong, or there is none.
    """
    rows = workload.rows(CHECKED_ROWS if workload.rows(1).nbytes < 2**20 else 2)
    expected = workload.answers(rows)
    sizes = []
    for row, right in zip(rows, expected, strict=True):
        reply = api.call(row[np.newaxis]).ask()
        sizes.append(len(reply))
        answer = api.read(reply)
        if answer.shape != right.ravel().shape or not np.allclose(answer, right.ravel(), rtol=1e-3, atol=1e-5):
            raise LoadFailedError(
                f"{title} answers {answer.shape}: {answer[:4]} …, expected {right.ravel().shape}: {right.ravel()[:4]} …"
            )
    return sizes[0]


@dataclass(frozen=True, slots=True)
class Subject:
    """A system, asked for a workload."""

    system: System
    workload: Workload


def measure(
    plan: Plan,
    subjects: Sequence[Subject],
    *,
    client: H2load,
    say: Callable[[str], None],
    concurrencies: Sequence[int] | None = None,
    after_round: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Measure what runs at the same time in turns, at every concurrency of the first subject's workload.

    ``say`` is told of each step before it; ``after_round`` may measure something else in the same turns.

    Raises:
        LoadFailedError: a request failed, or an answer was wrong.
    """
    results = []
    for concurrency in concurrencies or subjects[0].workload.concurrencies:
        trials = [Trial(one.system, one.workload, concurrency, client=client) for one in subjects]
        for trial in trials:
            say(f"{trial.workload.title}, {concurrency} at a time: {trial.system.title} warms up")
            trial.warm_up(plan)
        for number in range(plan.rounds):
            for trial in trials if number % 2 == 0 else reversed(trials):
                what = f"{trial.system.title}, round {number + 1} of {plan.rounds}"
                say(f"{trial.workload.title}, {concurrency} at a time: {what}")
                trial.run()
            after_round()
        results += [trial.result() for trial in trials]
    return results
