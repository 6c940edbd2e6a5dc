"""Measure Penstock: ``python -m benchmarks --help``."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import grpc
import psutil
import typer
from rich.console import Console

from benchmarks import report
from benchmarks.bench import Bench
from benchmarks.load import H2load, LoadFailedError
from benchmarks.measurement import Plan, strangers_share
from benchmarks.peers.report import SECTIONS as PEER_SECTIONS
from benchmarks.scenarios import SCENARIOS
from benchmarks.server_process import StartError
from penstock.errors import PenstockError

ORDER = (*PEER_SECTIONS, *SCENARIOS)
BUSY = 0.05
"""From this share of the machine on, other programs are worth a warning."""
FAILURES = (LoadFailedError, StartError, PenstockError, grpc.RpcError, psutil.NoSuchProcess, subprocess.SubprocessError)


def main(
    only: Annotated[str, typer.Option(help=f"Some of {','.join(SCENARIOS)}. Default: all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each measurement; medians are shown.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of a round.")] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="One round of a second; keeps RESULTS.md.")] = False,
    front: Annotated[str, typer.Option(help="The gateway's front; with grpcio, RESULTS.md is kept.")] = "native",
    clients: Annotated[
        str, typer.Option(help="Only so many at a time in `telemetry`, such as 16,64; keeps RESULTS.md.")
    ] = "",
    models: Annotated[int, typer.Option(min=1, help="Idle models in the scenario `many`.")] = 200,
) -> None:
    """Measure what a request costs: Penstock as a user gets it, beside bare yardsticks of the same run.

    Each scenario starts suites of its own in temporary folders on free ports, prints tables, and replaces its section
    of benchmarks/RESULTS.md; every round's figures go to build/benchmarks. All of them take about
    forty minutes, half of it `shadowing`.

    Example: python -m benchmarks --only identity,telemetry --rounds 5
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        sys.exit(f"unknown scenarios {', '.join(unknown)}: expected some of {', '.join(SCENARIOS)}")
    if not all(one.isdigit() and int(one) > 0 for one in clients.split(",") if one):
        sys.exit(f"got {clients!r}, expected numbers of clients such as 16,64")
    numbers = [int(one) for one in clients.split(",") if one]
    plan = Plan(rounds=1, seconds=1.0) if quick else Plan(rounds=rounds, seconds=seconds)
    console, failed = Console(stderr=True), []
    try:
        client = H2load()
    except LoadFailedError as error:
        sys.exit(str(error))
    for name in names:
        with console.status(name) as status:
            bench = Bench(
                plan,
                client,
                say=lambda step, name=name, status=status: status.update(f"{name}: {step}"),
                idle_models=min(models, 10) if quick else models,
                front=front,
                clients=numbers,
            )
            try:
                section = SCENARIOS[name](bench)
            except FAILURES as error:
                failed.append(name)
                console.print(f"[red]{name}: nothing measured:[/] {error}", markup=True, highlight=False)
                continue
        section.show(Console(width=150))
        strangers = strangers_share(bench.results)
        if strangers > BUSY:
            console.print(f"[yellow]Other programs took {strangers:.0%} of the machine: the figures suffer from it.")
        circumstances = report.circumstances(
            f"python -m benchmarks --only {name}", strangers=strangers, rounds=plan.rounds, seconds=plan.seconds
        )
        report.keep_raw(name, section, circumstances)
        if not quick and front == "native" and not numbers:
            page = report.Page()
            page.put(name, section.markdown(circumstances))
            page.write(ORDER)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    typer.run(main)
