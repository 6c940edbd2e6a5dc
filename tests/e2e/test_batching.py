"""Batches form under load, and a lone request doesn't wait for one."""

from __future__ import annotations

import tritonclient.grpc.aio as triton

from tests.support.load import identity_load
from tests.support.suite import Suite


async def _counts(suite: Suite) -> tuple[int, int]:
    async with triton.InferenceServerClient(suite.grpc_address) as client:
        statistics = (await client.get_inference_statistics("slow")).model_stats[0]
        return statistics.inference_count, statistics.execution_count


async def test_64_clients_share_executions(suite: Suite) -> None:
    rows, executions = await _counts(suite)
    async with identity_load(suite.grpc_address, model="slow", clients=64) as outcome:
        await outcome.more(1_000)
    after_rows, after_executions = await _counts(suite)
    assert (outcome.wrong, dict(outcome.errors)) == (0, {})
    assert after_rows - rows == outcome.right
    assert (after_rows - rows) / (after_executions - executions) > 2


async def test_lone_requests_run_alone(suite: Suite) -> None:
    rows, executions = await _counts(suite)
    async with identity_load(suite.grpc_address, model="slow", clients=1) as outcome:
        await outcome.more(20)
    after_rows, after_executions = await _counts(suite)
    assert after_rows - rows == after_executions - executions == outcome.right
