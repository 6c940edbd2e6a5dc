"""Repeat whole rollouts on a simulated clock: ``python -m tests.rollouts --help``."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.rollouts.repetitions import is_wrong, once, table
from tests.rollouts.scenarios import SCENARIOS
from tests.rollouts.simulation import Outcome

FIRST_SEED = 30_000
"""Tests use seeds below."""


def main(
    repetitions: Annotated[int, typer.Option(min=1, help="Of each rollout, with a seed of its own.")] = 100,
    only: Annotated[str, typer.Option(help="Rollouts with this in their name.")] = "",
    first_seed: Annotated[int, typer.Option(min=0, help="Tests use small ones.")] = FIRST_SEED,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Roll identical and worse versions out, again and again, by the registry's state machine and the monitor's
    verdicts, and print a table of how they ended.

    A canary in the default steps of 5, 25 and 50 %, 200 requests a second. Ends with status 1 when an identical version
    was rolled back, or a worse one promoted.

    Example: python -m tests.rollouts --repetitions 10 --only errors
    """
    console = Console()
    chosen = [number for number, one in enumerate(SCENARIOS) if only in one.name]
    jobs = [(number, seed) for number in chosen for seed in range(first_seed, first_seed + repetitions)]
    found: dict[int, list[Outcome]] = {number: [] for number in chosen}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    context = multiprocessing.get_context("spawn")
    with bar, ProcessPoolExecutor(workers, context) as pool:
        task = bar.add_task("rollouts", total=len(jobs))
        for number, outcome in pool.map(once, jobs):
            found[number].append(outcome)
            bar.advance(task)
    for line in table([(SCENARIOS[number], outcomes) for number, outcomes in found.items()]):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if any(is_wrong(SCENARIOS[number], one) for number, outcomes in found.items() for one in outcomes):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
