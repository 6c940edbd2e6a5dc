"""Counters go on where they were, so that Prometheus sees the requests of what is called now and then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from penstock.monitor.v1 import monitor_service_pb2 as pb
from tests.support.monitor_process import RunningMonitor, batch_span

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def test_counters_outlive_ten_minutes_without_requests(running: RunningMonitor, eventually: Eventually) -> None:
    async def counted() -> float:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
        wanted = 'penstock_requests_total{model="digits",outcome="ok",version="1"}'
        values = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(wanted)]
        return sum(values)

    async def shown() -> int:
        return len((await running.api.ListFigures(pb.ListFiguresRequest())).figures)

    async def are_forgotten() -> bool:
        return await shown() == 0

    async def have_come() -> bool:
        return await shown() == 1

    await running.send(batch_span(end_ns=running.clock(), status=(0,) * 8))
    await eventually(have_come)
    assert await counted() == 8

    running.clock.skip(700)
    await eventually(are_forgotten)
    assert await counted() == 8

    await running.send(batch_span(end_ns=running.clock(), status=(0,) * 8))
    await eventually(have_come)
    assert await counted() == 16
