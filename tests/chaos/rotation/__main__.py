"""Ask many models in turn on a node with room for few: ``python -m tests.chaos.rotation --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from penstock.client import Client
from penstock.serving import Serving
from tests.chaos.machine import sitting
from tests.chaos.soak import report
from tests.chaos.soak.census import Census, take
from tests.chaos.soak.verdict import compare
from tests.chaos.stages.suite import SuiteStage
from tests.support.models import identity_onnx

_FEW_SPANS = "500"
"""The monitor's ring of traces is full before the first count, so that it grows no more."""
_FORGOTTEN_S = 75.0
"""A gateway forgets a model process a minute after it left."""
_CALLERS = 4
_DEADLINE_S = 120.0


class Rotation(SuiteStage):
    """A suite with many models and little room."""

    def __init__(self, *, models: int, room: int) -> None:
        super().__init__(PENSTOCK_INFERENCE__MAX_INSTANCES=str(room), PENSTOCK_MONITOR__RING_MAX_SPANS=_FEW_SPANS)
        self.parts = {**self.parts, "model": room}
        self.names = [f"m{number}" for number in range(models)]
        self.waits_s: list[float] = []

    def begin(self) -> None:
        """Start the suite and deploy the models; blocks."""
        self._suite.start()
        path = identity_onnx(self.home / "identity.onnx")
        with self.client() as client:
            files = client.upload(path)
            for name in self.names:
                version = client.wait_validated(client.create_version(name, files).name)
                client.deploy(name, version.name, serving=Serving(optimize="off"))

    def turn(self, rounds: int) -> list[Census]:
        """Ask every model so many times, a few at once, and check the answers; blocks. Returns counts on the way."""
        counts = []
        for _ in range(rounds):
            with ThreadPoolExecutor(_CALLERS) as pool:
                list(pool.map(self._ask, [self.names[at::_CALLERS] for at in range(_CALLERS)]))
            counts.append(take(self))
        return counts

    def _ask(self, names: Sequence[str]) -> None:
        with self.client() as client:
            for name in names:
                self._ask_one(client, name)

    def _ask_one(self, client: Client, name: str) -> None:
        sent, began = np.random.default_rng().standard_normal((1, 16)).astype("f4"), time.monotonic()
        outputs = client.infer(name, {"INPUT0": sent}, timeout_s=_DEADLINE_S)
        self.waits_s.append(time.monotonic() - began)
        np.testing.assert_array_equal(outputs["OUTPUT0"], sent)

    def end(self) -> None:
        """Stop the suite; blocks."""
        self._close()


def main(
    models: Annotated[int, typer.Option(min=2)] = 50,
    room: Annotated[int, typer.Option(min=1, help="Model processes that the node may run.")] = 10,
    cycles: Annotated[int, typer.Option(min=1, help="Loads and unloads, between the two counts.")] = 500,
) -> None:
    """Count memory, open files, threads and processes, keys in Redis and files before and after; the rest is as it was.

    Ends with status 1 when something grew by more than it may; with an error when a model gave no or a wrong answer.
    """
    console, stage = Console(), Rotation(models=models, room=room)
    console.print(sitting()["machine"], highlight=False)
    try:
        with console.status("starting"):
            stage.begin()
        with console.status("warming up"):
            stage.turn(1)
            stage.waits_s.clear()
            time.sleep(_FORGOTTEN_S)
            before = take(stage)
        with console.status("loading and unloading"):
            during = stage.turn(-(-cycles // models))
        with console.status("waiting until it is quiet"):
            time.sleep(_FORGOTTEN_S)
            after = take(stage)
    finally:
        stage.end()
    lines = compare(before, during, after, new_versions=0)
    console.print(report.table(lines))
    half, most = np.quantile(stage.waits_s, [0.5, 1.0])
    console.print(f"{len(stage.waits_s)} requests, all answered: median {half:.2f} s, at most {most:.2f} s")
    sys.exit(any(line.is_bad for line in lines))


if __name__ == "__main__":
    typer.run(main)
