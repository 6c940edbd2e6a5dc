"""A long time of everything: ``python -m tests.chaos.soak --help``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from tests.chaos.__main__ import BUILD
from tests.chaos.machine import sitting
from tests.chaos.soak import report
from tests.chaos.soak.course import Findings, Plan, Soak
from tests.chaos.soak.verdict import compare
from tests.chaos.stages.suite import SuiteStage

_FEW_SPANS = "5000"
"""The monitor's ring of traces is full before the first count, so that it grows no more."""


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="Of load and faults, between the two counts.")] = 30.0,
    every: Annotated[float, typer.Option(min=5, help="Seconds from one fault to the next.")] = 30.0,
    seed: Annotated[int, typer.Option(help="For what is chosen at random.")] = 0,
    output: Annotated[Path, typer.Option(help="Where the findings are kept.")] = BUILD / "soak",
) -> None:
    """Load of all kinds and a fault every half minute; then everything must be as it was before.

    Counts memory, open files and threads of all processes, keys and entries in Redis, shared memory and files, before
    and after, each time after a quiet while. Ends with status 1 when something grew by more than it may, or when a
    request was lost or answered wrongly.
    """
    plan = Plan(load_s=minutes * 60, fault_every_s=every)
    console = Console()
    console.print(sitting()["machine"], highlight=False)
    try:
        with console.status("starting") as status:
            found = asyncio.run(_soak(plan, seed, status))
    except KeyboardInterrupt:
        sys.exit(130)
    lines = compare(found.before, [census for _, census in found.samples], found.after, new_versions=found.new_versions)
    _keep(found, output)
    console.print(report.table(lines))
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in found.verdicts.items())
    console.print(f"{len(found.faults)} faults; requests: {told}; refused: {dict(found.refusals)}", highlight=False)
    for failure in found.failures:
        console.print(f"[red]✗[/] {failure}", highlight=False, markup=True)
    sys.exit(any(line.is_bad for line in lines) or not found.is_served_well)


async def _soak(plan: Plan, seed: int, status: Status) -> Findings:
    stage = SuiteStage(PENSTOCK_MONITOR__RING_MAX_SPANS=_FEW_SPANS)
    try:
        await stage.open()
        return await Soak(stage, plan, random=Random(seed), say=status.update).run()
    finally:
        await stage.close()


def _keep(found: Findings, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **sitting(),
        "before": found.before,
        "after": found.after,
        "samples": found.samples,
        "faults": found.faults,
        "failures": found.failures,
        "verdicts": found.verdicts,
        "refusals": found.refusals,
    }
    (folder / "soak.json").write_text(json.dumps(content))
    (folder / "soak.svg").write_text(report.svg_of(found))


if __name__ == "__main__":
    typer.run(main)
