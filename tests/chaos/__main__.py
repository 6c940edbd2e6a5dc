"""Break Penstock, one thing at a time, under load: ``python -m tests.chaos --help``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.chaos import page
from tests.chaos.faults import FAULTS
from tests.chaos.journal import Journal
from tests.chaos.machine import commit, sitting
from tests.chaos.run import Order, carry_out
from tests.chaos.screen import Screen, faults_table, results_table
from tests.chaos.summary import Summary

_TABLE_WIDTH = 150
BUILD = Path(__file__).resolve().parents[2] / "build" / "chaos"


def main(
    fault: Annotated[list[str] | None, typer.Option(help="A fault; repeatable. Default: all.")] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Of each fault, with those that are there already.")] = 20,
    seconds: Annotated[float, typer.Option(min=1, help="Begin nothing after so many seconds.")] = 36_000.0,
    seed: Annotated[int, typer.Option(help="For what is chosen at random.")] = 0,
    output: Annotated[Path, typer.Option(help="Where results are kept, and continued.")] = BUILD,
    is_fresh: Annotated[bool, typer.Option("--fresh", help="Put earlier results aside and begin anew.")] = False,
    write_page: Annotated[bool, typer.Option("--page", help="Render docs/reliability.md from all results.")] = False,
    only_list: Annotated[bool, typer.Option("--list", help="Show the faults and what there is of each.")] = False,
) -> None:
    """Break one thing at a time while clients ask, and count what they see.

    Every result is written at once: interrupt it (Ctrl-C), and the next call goes on where it ended. Ends with status 1
    when anything was lost, falsified, answered twice, or refused without need.

    Example: python -m tests.chaos --fault kill-redis --fault kill-agent --repetitions 3
    """
    console = Console()
    if unknown := [name for name in fault or [] if name not in FAULTS]:
        sys.exit(f"unknown faults {', '.join(unknown)}: expected some of {', '.join(FAULTS)}")
    chosen = [kind for name, kind in FAULTS.items() if not fault or name in fault]
    if is_fresh:
        Journal.put_aside(output)
    journal = Journal(output)
    summaries = [Summary(kind, journal.of(kind.name), journal.why_skipped(kind.name)) for kind in FAULTS.values()]
    if only_list:
        Console(width=max(console.width, _TABLE_WIDTH)).print(faults_table(summaries))
        return
    if all(len(journal.of(kind.name)) >= repetitions for kind in chosen):
        console.print(f"All of it is in {journal.path} already; --fresh begins anew.", highlight=False, soft_wrap=True)
    order = Order(chosen, repetitions, seed=seed, version=commit(), within_s=seconds)
    was_interrupted = not _run(order, journal, console)
    summaries = [Summary(kind, journal.of(kind.name), journal.why_skipped(kind.name)) for kind in FAULTS.values()]
    mine = [one for one in summaries if one.fault in chosen]
    Console(width=max(console.width, _TABLE_WIDTH)).print(results_table(mine))
    (output / "results.json").write_text(json.dumps([one.as_json() for one in summaries], indent=1))
    if write_page:
        page.write(journal, summaries)
    if was_interrupted:
        sys.exit(130)
    sys.exit(any(one.is_bad for one in mine))


def _run(order: Order, journal: Journal, console: Console) -> bool:
    """True when it was not interrupted."""
    journal.begin(sitting())
    try:
        with Screen(console, order, journal) as screen:
            asyncio.run(carry_out(order, journal, screen))
    except KeyboardInterrupt:
        return False
    return True


if __name__ == "__main__":
    typer.run(main)
