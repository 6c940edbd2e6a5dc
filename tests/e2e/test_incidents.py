"""The monitor notices a model that begins to fail."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from penstock.monitor.v1 import monitor_service_pb2 as pb
from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from tests.support import models
from tests.support.suite import Suite

_LEARNING_S = 45
_PAUSE_S = 0.01


async def _ask(client: triton.InferenceServerClient, index: int) -> bool:
    tensor = triton.InferInput("INDEX", [1, 1], "INT64")
    tensor.set_data_from_numpy(np.full((1, 1), index, np.int64))
    try:
        answer = await client.infer("fragile", [tensor])
    except InferenceServerException as error:
        if error.status() == "StatusCode.INTERNAL":
            return False
        raise
    assert answer.as_numpy("VALUE") == 10 * index
    return True


async def _keep_asking(client: triton.InferenceServerClient, index: int) -> None:
    while True:
        assert await _ask(client, index) is (index < 4)
        await asyncio.sleep(_PAUSE_S)


@pytest.mark.timeout(180)
async def test_a_model_that_begins_to_fail_raises_an_incident(suite: Suite, tmp_path: Path) -> None:
    suite.command("deploy", str(models.fragile_onnx(tmp_path / "fragile.onnx")), "--name", "fragile")
    async with (
        triton.InferenceServerClient(suite.grpc_address) as client,
        grpc.aio.insecure_channel(suite.monitor_address) as channel,
        asyncio.timeout(120),
    ):
        incidents = MonitorServiceStub(channel).WatchIncidents(pb.WatchIncidentsRequest(model="fragile"))
        good = asyncio.create_task(_keep_asking(client, 3))
        await asyncio.wait([good], timeout=_LEARNING_S)
        assert not good.done()
        good.cancel()
        bad = asyncio.create_task(_keep_asking(client, 4))
        incident = (await incidents.read()).incident
        assert not bad.done()
        bad.cancel()
    assert (incident.model, incident.signal) == ("fragile", pb.Incident.SIGNAL_ERROR_RATE)
    assert incident.before < 0.02 < 0.5 < incident.after
    assert suite.monitor.GetTrace(pb.GetTraceRequest(name=incident.traces[0])).trace.has_error
    listed = suite.command("incidents")
    assert incident.name in json.dumps(listed)
    assert incident.summary in (suite.home / "logs" / "monitor.jsonl").read_text()
