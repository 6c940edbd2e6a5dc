"""Nothing happens to a running suite, for two million requests: ``python -m tests.evaluation.live.null --help``."""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import grpc
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tritonclient.grpc import service_pb2 as oip

from penstock.monitor.v1 import monitor_service_pb2 as pb
from tests.evaluation.live import model
from tests.support import models
from tests.support.suite import Suite

NAME = "calm"
_LEAST, _MOST, _WAVE_S = 4, 48, 60
"""Callers at a time, in waves."""
_TOLD_S = 15
"""What the last requests show is told by then."""


class _Waves:
    """Callers, more and fewer of them, who ask for random digits until there were so many requests."""

    def __init__(self, channel: grpc.aio.Channel, requests: int) -> None:
        images = models.digits().images
        self._ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        self._bodies = [_request(image[None]).SerializeToString() for image in images]
        self._random = np.random.default_rng(1)
        self._requests = requests
        self._began = time.monotonic()
        self.done = self.refused = 0

    async def run(self) -> None:
        await asyncio.gather(*[self._keep_asking(number) for number in range(_MOST)])

    async def _keep_asking(self, number: int) -> None:
        while self.done < self._requests:
            wave = (1 + math.sin(2 * math.pi * (time.monotonic() - self._began) / _WAVE_S)) / 2
            if number >= _LEAST + wave * (_MOST - _LEAST):
                await asyncio.sleep(0.2)
                continue
            body = self._bodies[self._random.integers(len(self._bodies))]
            try:
                await self._ask(body, timeout=10.0)
            except grpc.aio.AioRpcError:
                self.refused += 1
            self.done += 1


def _request(image: np.ndarray) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name=NAME, raw_input_contents=[image.astype(np.float32).tobytes()])
    request.inputs.add(name="image", datatype="FP32", shape=list(image.shape))
    return request


async def _watch(address: str, requests: int, console: Console) -> _Waves:
    columns = TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        waves = _Waves(channel, requests)
        running = asyncio.create_task(waves.run())
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("requests", total=requests)
            while not running.done():
                await asyncio.wait([running], timeout=1.0)
                progress.update(bar, completed=waves.done)
        await running
    return waves


def main(
    requests: Annotated[int, typer.Option(min=1, help="So many.")] = 2_000_000,
    replicas: Annotated[int, typer.Option(min=1, help="Processes of the model.")] = 2,
) -> None:
    """Serve a classifier of digits to 4 to 48 callers, and say which incidents the monitor made of it.

    Ends with status 1 when one of them is a page.

    Example: python -m tests.evaluation.live.null --requests 100000
    """
    console = Console()
    with tempfile.TemporaryDirectory() as folder, Suite() as suite:
        path = str(model.save(Path(folder), NAME, loops=1))
        suite.command("deploy", path, "--name", NAME, "--replicas", str(replicas), "--trust", "--wait")
        began = time.monotonic()
        waves = asyncio.run(_watch(suite.grpc_address, requests, console))
        took_s = time.monotonic() - began
        time.sleep(_TOLD_S)
        incidents = suite.monitor.ListIncidents(pb.ListIncidentsRequest()).incidents
    pages = [one for one in incidents if one.severity == pb.Incident.SEVERITY_PAGE]
    console.print(
        f"{waves.done:,} requests in {took_s:.0f} s, {waves.refused} refused: "
        f"{len(pages)} pages, {len(incidents) - len(pages)} tickets"
    )
    for one in incidents:
        console.print(f"  {one.summary}", markup=False)
    sys.exit(bool(pages))


if __name__ == "__main__":
    typer.run(main)
