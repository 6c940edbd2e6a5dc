"""Simulated traffic of one model version behind a dynamic batcher: the batches that a worker would report."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from services.monitor.domain.blocks import NS, Batch

START_S = 1_700_000_000
"""Unix time at which all simulated traffic begins."""


@dataclass(slots=True)
class Worker:
    """One worker: takes what waits, up to ``max_batch``, as soon as it is free.

    ``slowdown`` and ``error_rate`` are functions of the seconds since the start.
    """

    base_s: float = 0.004
    per_row_s: float = 0.0005
    max_batch: int = 32
    slowdown: Callable[[float], float] = lambda _: 1.0
    error_rate: Callable[[float], float] = lambda _: 0.0
    seed: int = 1
    _host_noise: float = 0.0
    _random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def compute_s(self, rows: int, at_s: float) -> float:
        """Noise of three kinds: of each batch, of the host for a while, and a hiccup in a hundred batches."""
        self._host_noise = 0.98 * self._host_noise + 0.01 * self._random.standard_normal()
        hiccup = 3.0 if self._random.random() < 0.01 else 1.0
        noise = np.exp(0.08 * self._random.standard_normal() + self._host_noise) * hiccup
        return float((self.base_s + self.per_row_s * rows) * noise * self.slowdown(at_s))

    def run(self, arrivals: list[float], *, until_s: float, think_s: Callable[[], float] | None) -> Iterator[Batch]:
        """Serve requests from their arrival times on; with ``think_s`` each is repeated that long after its reply."""
        heapq.heapify(arrivals)
        free_s = 0.0
        while arrivals and (now_s := max(free_s, arrivals[0])) < until_s:
            taken = []
            while arrivals and arrivals[0] <= now_s and len(taken) < self.max_batch:
                taken.append(heapq.heappop(arrivals))
            free_s = now_s + self.compute_s(len(taken), now_s)
            for _ in taken if think_s is not None else ():
                heapq.heappush(arrivals, free_s + think_s())
            yield self._batch(np.array(taken), now_s, free_s)

    def _batch(self, arrived_s: np.ndarray, cut_s: float, end_s: float) -> Batch:
        failed = self._random.random(len(arrived_s)) < self.error_rate(cut_s)
        return batch(
            end_ns=int((START_S + end_s) * NS),
            compute_ns=(20_000, int((end_s - cut_s) * NS), 30_000),
            wait_us=((cut_s - arrived_s) * 1e6).astype("<u4"),
            total_us=((end_s - arrived_s) * 1e6).astype("<u4"),
            status=np.where(failed, 13, 0).astype(np.uint8),
            trace_id=self._random.bytes(16),
        )


def batch(
    *,
    end_ns: int = START_S * NS,
    compute_ns: tuple[int, int, int] = (20_000, 5_000_000, 30_000),
    wait_us: np.ndarray | list[int] = (100,),
    total_us: np.ndarray | list[int] = (5_150,),
    status: np.ndarray | list[int] = (0,),
    rows: int | None = None,
    trace_id: bytes = b"b" * 16,
    model: str = "digits",
    version: str = "1",
) -> Batch:
    """A batch of one row per request, if not said otherwise."""
    size = len(status)
    return Batch(
        model=model,
        version=version,
        instance="worker-1",
        trace_id=trace_id,
        end_ns=end_ns,
        sizes=(size,),
        rows=(size if rows is None else rows,),
        compute_ns=((compute_ns[0],), (compute_ns[1],), (compute_ns[2],)),
        wait_us=np.asarray(wait_us, "<u4").tobytes(),
        total_us=np.asarray(total_us, "<u4").tobytes(),
        status=np.asarray(status, np.uint8).tobytes(),
        trace_ids=b"".join(bytes([index % 255 + 1]) * 16 for index in range(size)),
    )


def closed_loop(worker: Worker, clients: list[float], *, until_s: float, think_s: float = 0.001) -> list[Batch]:
    """Clients that start at the given seconds and send the next request shortly after each reply."""
    random = np.random.default_rng(worker.seed + 1)
    return list(worker.run(list(clients), until_s=until_s, think_s=lambda: float(random.exponential(think_s))))


def open_loop(worker: Worker, rate: Callable[[float], float], *, until_s: float) -> list[Batch]:
    """Poisson arrivals, ``rate`` a second as a function of the seconds since the start."""
    random = np.random.default_rng(worker.seed + 2)
    arrivals = [
        float(at_s) for second in range(int(until_s))
        for at_s in second + np.sort(random.random(random.poisson(rate(second))))
    ]  # fmt: skip
    return list(worker.run(arrivals, until_s=until_s, think_s=None))
