"""A rolling restart of everything under load: no client notices."""

from __future__ import annotations

import asyncio
import threading

import httpx
import numpy as np
import tritonclient.http as triton

from tests.support.load import identity_load
from tests.support.suite import Suite


def _keep_asking(suite: Suite, is_over: threading.Event) -> int:
    """Infer over kept-alive connections of the REST client, and ask over new ones; any error ends it."""
    sent = np.full((1, 16), 0.5, "f4")
    tensor = triton.InferInput("INPUT0", [1, 16], "FP32")
    tensor.set_data_from_numpy(sent)
    count = 0
    with triton.InferenceServerClient(suite.http_address, network_timeout=30) as client:
        while not is_over.is_set():
            assert (client.infer("identity", [tensor]).as_numpy("OUTPUT0") == sent).all()
            assert httpx.get(f"http://{suite.http_address}/v2/models/identity", timeout=30).status_code == 200
            count += 1
            is_over.wait(0.02)
    return count


async def test_a_rolling_restart_of_everything_loses_nothing(suite: Suite) -> None:
    before = {part: suite.pid_of(part) for part in ("gateway", "inference", "registry", "monitor", "redis")}
    is_over = threading.Event()
    asking = asyncio.create_task(asyncio.to_thread(_keep_asking, suite, is_over))
    async with identity_load(suite.grpc_address, model="identity", clients=2) as outcome:
        await outcome.more(100)
        await asyncio.to_thread(suite.restart, "--rolling")
        await outcome.more(100)
    is_over.set()

    assert (outcome.wrong, dict(outcome.errors)) == (0, {})
    assert await asking > 0
    assert not [part for part, pid in before.items() if suite.pid_of(part) == pid]
