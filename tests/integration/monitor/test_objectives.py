"""The monitor hears from the registry what was promised, and counts what breaks it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.integration.monitor.test_alertmanager import metric
from tests.support.monitor_process import monitor
from tests.support.registry import running_registry

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def test_slow_requests_are_counted_against_what_was_promised(tmp_path: Path, eventually: Eventually) -> None:
    async with running_registry(tmp_path / "registry") as registry:
        deployed = await registry.deploy("digits")
        request = api.UpdateDeploymentRequest(
            deployment=pb.Deployment(name=deployed.name, slo=pb.Slo(availability=0.999, latency_seconds=0.02))
        )
        request.update_mask.paths.append("slo")
        await registry.stub.UpdateDeployment(request)
        async with monitor(tmp_path, registry_address=registry.address) as running:

            async def target() -> float | None:
                return await metric(running, "penstock_slo_target", model="digits", objective="availability")

            assert await eventually(target) == 0.999
            assert await metric(running, "penstock_slo_target", model="digits", objective="latency") == 0.99
            assert await metric(running, "penstock_slo_latency_seconds", model="digits") == 0.02
            await running.serve_seconds(8, batches=1, infer_ns=5_000_000)
            await running.serve_seconds(16, batches=1, infer_ns=30_000_000)

            async def slow() -> bool:
                found = await metric(running, "penstock_slo_slow_requests_total", model="digits", threshold="0.02")
                return found == 16 * 8

            assert await eventually(slow)
            counted = await metric(running, "penstock_phase_duration_seconds_count", model="digits", phase="total")
            assert counted == 24 * 8
            request.deployment.slo.Clear()
            await registry.stub.UpdateDeployment(request)

            async def is_taken_back() -> bool:
                return await target() is None

            assert await eventually(is_taken_back)


async def test_a_registry_that_is_away_takes_nothing_from_the_monitor(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        await running.serve_seconds(8)
        await asyncio.sleep(0.5)

        assert await metric(running, "penstock_requests_total", model="digits", outcome="ok")
        assert await metric(running, "penstock_slo_target") is None
