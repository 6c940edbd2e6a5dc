"""Two versions of a model serve side by side, and the monitor says whether one may replace the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from tests.support import models
from tests.support.suite import Suite

_PAUSE_S = 0.01
_CANDIDATES = 4
"""One request in so many goes to the candidate."""


async def _ask(client: triton.InferenceServerClient, model: str, version: str, index: int) -> None:
    tensor = triton.InferInput("INDEX", [1, 1], "INT64")
    tensor.set_data_from_numpy(np.full((1, 1), index, np.int64))
    with contextlib.suppress(InferenceServerException):
        await client.infer(model, [tensor], model_version=version)


async def _keep_asking(suite: Suite, model: str, *, candidate_index: int) -> None:
    """Ask both versions; the fragile model fails on an index above 3."""
    async with triton.InferenceServerClient(suite.grpc_address) as client:
        for number in range(1_000_000):
            is_candidate = number % _CANDIDATES == 0
            await _ask(client, model, *(("2", candidate_index) if is_candidate else ("1", 3)))
            await asyncio.sleep(_PAUSE_S)


@contextlib.asynccontextmanager
async def _traffic(suite: Suite, model: str, *, candidate_index: int) -> AsyncIterator[None]:
    asking = asyncio.create_task(_keep_asking(suite, model, candidate_index=candidate_index))
    try:
        yield
        assert not asking.done()
    finally:
        asking.cancel()


@pytest.mark.timeout(240)
async def test_a_version_that_fails_is_to_be_rolled_back_and_a_good_one_is_not(suite: Suite, tmp_path: Path) -> None:
    path = str(models.fragile_onnx(tmp_path / "fragile.onnx"))
    suite.command("deploy", path, "--name", "rivals")
    suite.command("deploy", path, "--name", "rivals", "--keep-previous")
    verdict = ("verdict", "rivals", "2", "1", "--weight", str(1 / _CANDIDATES))

    async with _traffic(suite, "rivals", candidate_index=3):
        begun = await asyncio.to_thread(suite.command, *verdict)
        await asyncio.sleep(15)
        going = await asyncio.to_thread(suite.command, *verdict)
    assert going["name"] == begun["name"]
    assert going["decision"] in ("DECISION_CONTINUE", "DECISION_PROMOTE"), going["reason"]
    assert int(going["candidate_request_count"]) > 50
    assert going["split"]["is_broken"] is False
    errors = going["evidence"][0]
    assert (errors["key"], errors["candidate"]["value"]) == ("error_rate", 0)

    async with _traffic(suite, "rivals", candidate_index=4):
        ended = await asyncio.to_thread(suite.command, *verdict, "--wait", check=False)
    assert ended["decision"] == "DECISION_ROLL_BACK"
    assert "version 2 is worse: errors" in ended["reason"]
    assert "rivals 2 with 1: roll_back" in (suite.home / "logs" / "monitor.jsonl").read_text()
