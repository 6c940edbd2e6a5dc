"""The load client for machines without h2load: several processes of ``grpc.aio``, each with its share of the load.

It takes about as much of the machine as what it measures, so its figures are lower; those of two servers measured with
it can still be compared.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Self

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.load import CONNECTIONS, METHOD, Load, LoadFailedError, Timing


class PythonClient:
    """One process per connection; they live as long as the client, so that starting them isn't timed."""

    description = "grpc.aio in up to 4 processes (h2load is not installed)"

    def __init__(self) -> None:
        self._processes = ProcessPoolExecutor(CONNECTIONS, mp_context=multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._processes.shutdown()

    def run(self, load: Load, *, requests: int) -> Timing:
        shares = [len(part) for part in np.array_split(np.arange(requests), load.connections)]
        begin = time.monotonic() + 0.5  # processes and connections are up by then
        futures = [self._processes.submit(_run_share, load, share, begin) for share in shares if share]
        parts = [future.result() for future in futures]
        return Timing(
            np.concatenate([latencies for latencies, _, _ in parts]),
            max(end for _, end, _ in parts) - begin,
            sum(size for _, _, size in parts),
        )


def _run_share(load: Load, requests: int, begin: float) -> tuple[NDArray[np.int64], float, int]:
    return asyncio.run(_send(load, requests, begin))


async def _send(load: Load, requests: int, begin: float) -> tuple[NDArray[np.int64], float, int]:
    latencies_us: list[int] = []
    sizes: list[int] = []
    async with grpc.aio.insecure_channel(load.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        await channel.channel_ready()
        call = channel.unary_unary(METHOD)  # bytes in, bytes out
        await asyncio.sleep(begin - time.monotonic())
        left = iter(range(requests))

        async def ask() -> None:
            for _ in left:
                sent = time.perf_counter_ns()
                reply: bytes = await call(load.body)
                latencies_us.append((time.perf_counter_ns() - sent) // 1_000)
                sizes.append(len(reply))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(load.streams):
                    group.create_task(ask())
        except* grpc.aio.AioRpcError as failed:
            raise LoadFailedError(f"a request failed: {failed.exceptions[0]}") from None
    return np.array(latencies_us, np.int64), time.monotonic(), sum(sizes)
