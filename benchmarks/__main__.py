"""Measure Penstock: ``python -m benchmarks --help``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import grpc
import psutil
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tritonclient.utils import InferenceServerException

from benchmarks import report
from benchmarks.load import LoadClient, LoadFailedError, find_client
from benchmarks.measurement import Plan, Result, measure, steps_of
from benchmarks.systems import EchoSystem, PenstockSystem, StartError, System
from benchmarks.workloads import Digits, Identity

HERE = Path(__file__).resolve().parent
PAGE = HERE / "RESULTS.md"
RAW = HERE.parent / "build" / "benchmarks" / "latest.json"
BUSY = 0.05
"""From this share of the machine on, other programs are worth a warning."""


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="One round of a second: about 40 s; keeps RESULTS.md.")
    ] = False,
    echo_only: Annotated[bool, typer.Option("--echo-only", help="The bare server alone; keeps RESULTS.md.")] = False,
    front: Annotated[
        str, typer.Option(help="The gateway's front, grpcio or envoy; another than grpcio keeps RESULTS.md.")
    ] = "grpcio",
) -> None:
    """Measure what a request costs: Penstock as a user gets it, beside a bare gRPC server.

    Starts a suite of its own in a temporary folder on free ports, deploys an identity model and a digits classifier,
    and measures each at 1, 16 and 64 requests under way: requests/s, p50, p99 and CPU per request by process. Prints
    tables and writes benchmarks/RESULTS.md; every round's figures go to build/. Takes about three minutes.

    Example: python -m benchmarks --quick
    """
    console = Console(stderr=True)
    plan = Plan(rounds=1, seconds=1.0) if quick else Plan()
    client = find_client()
    circumstances = report.Circumstances.now(client.description)
    if not client.description.startswith("h2load"):
        console.print("[yellow]h2load (Debian: nghttp2-client) is missing: a slower Python client takes its place.")
    try:
        results = _measure(plan, console, client=client, front=front, is_echo_only=echo_only)
    except (LoadFailedError, StartError, InferenceServerException, grpc.RpcError, psutil.NoSuchProcess) as error:
        sys.exit(f"nothing measured: {error}")
    for title, group in report.by_workload(results):
        Console(width=100).print(report.table_of(title, group))
    if (strangers := report.strangers_share(results)) > BUSY:
        console.print(f"[yellow]Other programs took {strangers:.0%} of the machine: the figures suffer from it.")
    RAW.parent.mkdir(parents=True, exist_ok=True)
    RAW.write_text(report.raw(plan, circumstances, results))
    if not (quick or echo_only or front != "grpcio"):
        PAGE.write_text(report.page_of(plan, circumstances, results))
        console.print(f"written: {PAGE.relative_to(HERE.parent)}")


def _measure(plan: Plan, console: Console, *, client: LoadClient, front: str, is_echo_only: bool) -> list[Result]:
    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with ExitStack() as running, Progress(*columns, console=console, transient=True) as progress:
        workloads = [Identity(), Digits()]
        systems: list[System] = [running.enter_context(EchoSystem())]
        task = progress.add_task("starting", total=steps_of(plan, workloads, systems) * (1 if is_echo_only else 2))
        if not is_echo_only:
            suite = running.enter_context(PenstockSystem(front=front))
            systems.insert(0, suite)
            for workload in workloads:
                progress.update(task, description=f"deploying {workload.name}")
                suite.deploy(workload)

        def advance(description: str) -> None:
            progress.update(task, description=description, advance=1)

        return measure(plan, workloads, systems, client=client, advance=advance)


if __name__ == "__main__":
    typer.run(main)
