"""Judge the monitor on simulated faults: ``python -m tests.evaluation --help``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.evaluation import environment, page, summary
from tests.evaluation.journal import ROOT, Journal
from tests.evaluation.live.outcome import LiveOutcome
from tests.evaluation.live.run import carry_out
from tests.evaluation.run import Job, Outcome
from tests.evaluation.scenarios import BENIGN, FAULTS, LEARNT_S, LOADS, NULL, STEADY_S, Strength
from tests.evaluation.tables import grids
from tests.evaluation.work import carry_out_all, rivals
from tools.setup import InstallError

FIRST_SEED = 20_000
"""Tests, and whoever chose the detectors' constants, use seeds below."""
_TABLE_WIDTH = 180
JOURNAL = ROOT / "build" / "evaluation" / "outcomes.jsonl"
LIVE = "live"
PARTS = ("faults", "benign", "null", LIVE)


def jobs(
    *, seeds: int, first_seed: int, loads: Sequence[str], kinds: Sequence[str], learnt_s: int = STEADY_S
) -> Iterator[Job]:
    """All runs, each seed's together: however early it ends, every scenario was tried as often."""
    for seed in range(first_seed, first_seed + seeds):
        for load in loads:
            if "faults" in kinds:
                yield from (Job("faults", one.name, each, load, seed, learnt_s) for one in FAULTS for each in Strength)
            for kind, table in (("benign", BENIGN), ("null", NULL)):
                if kind in kinds:
                    yield from (Job(kind, one.name, "", load, seed) for one in table)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each scenario, strength and load.")] = 30,
    first_seed: Annotated[int, typer.Option(min=0, help="Tests use small ones.")] = FIRST_SEED,
    is_quick: Annotated[bool, typer.Option("--quick", help="Two seeds and one load: a look, no measurement.")] = False,
    part: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(PARTS)}; repeatable. Default: all.")
    ] = None,
    only: Annotated[str, typer.Option(help="Scenarios with this in their name.")] = "",
    learnt_s: Annotated[
        int, typer.Option("--learnt", min=LEARNT_S, help="Seconds after which faults begin.")
    ] = STEADY_S,
    quiet_s: Annotated[
        float, typer.Option("--quiet", min=0, help="Seconds in which the live part hurts nothing, once all is learnt.")
    ] = 120,
    workers: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = os.cpu_count() or 1,
    with_river: Annotated[bool, typer.Option("--river/--no-river", help="Beside river's ADWIN, fetched once.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures of all runs as JSON.")] = False,
    write_page: Annotated[bool, typer.Option("--page", help="Render docs/detection.md.")] = False,
    only_show: Annotated[bool, typer.Option("--show", help="Carry nothing out: show what there is.")] = False,
    journal: Annotated[Path, typer.Option(help="Where outcomes are kept, and continued.")] = JOURNAL,
) -> None:
    """Let the monitor, and what it is compared with, watch simulated faults and traffic without any.

    Interrupt it (Ctrl-C), and the next call goes on where it ended. Ends with status 1 when a goal is not reached.

    Example: python -m tests.evaluation --quick --only slow
    """
    kinds = part or [name for name in PARTS if name != LIVE or not only]
    if unknown := set(kinds) - set(PARTS):
        sys.exit(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(PARTS)}")
    seeds, loads = (2, list(LOADS)[:1]) if is_quick else (seeds, list(LOADS))
    wanted = [
        one
        for one in jobs(seeds=seeds, first_seed=first_seed, loads=loads, kinds=kinds, learnt_s=learnt_s)
        if only.casefold() in one.scenario.casefold()
    ]
    if not wanted and LIVE not in kinds:
        sys.exit(f"got {only!r}, expected a part of a scenario's name")
    console, kept = Console(stderr=as_json), Journal(journal)
    python = _river(console) if with_river and not only_show else None
    names = frozenset(rivals(python))
    missing = [] if only_show else kept.missing(wanted, rivals=names)
    was_interrupted = not carry_out_all(missing, kept, workers=workers, python=python, console=console)
    outcomes, live = kept.of(wanted), None
    if LIVE in kinds and not was_interrupted:
        live = _live(journal.with_name("live.json"), quiet_s=quiet_s, only_show=only_show, console=console)
    if as_json:
        typer.echo(json.dumps(summary.as_json(outcomes, live), indent=1))
    else:
        wide = Console(width=max(console.width, _TABLE_WIDTH))
        for grid in grids(outcomes, live):
            wide.print(grid.as_table())
    if write_page and outcomes:
        page.write(outcomes, live, command=_command(outcomes))
    if was_interrupted:
        sys.exit(130)
    sys.exit(not all(one.is_met for one in summary.goals(outcomes, live)))


def _live(path: Path, *, quiet_s: float, only_show: bool, console: Console) -> LiveOutcome | None:
    if not only_show:
        with console.status("live") as status:
            done = asyncio.run(carry_out(quiet_s=quiet_s, say=lambda step: status.update(f"live: {step}")))
        done.write(path)
    return LiveOutcome.read(path)


def _command(outcomes: Sequence[Outcome]) -> str:
    """What makes these again."""
    seeds = sorted({one.job.seed for one in outcomes})
    first = f" --first-seed {seeds[0]}" if seeds[0] != FIRST_SEED else ""
    learnt_s = max(one.job.learnt_s for one in outcomes)
    learnt = f" --learnt {learnt_s}" if learnt_s != STEADY_S else ""
    return f"make eval-monitor ARGS='--seeds {len(seeds)}{first}{learnt}'"


def _river(console: Console) -> str | None:
    try:
        return environment.installed()
    except (InstallError, OSError) as error:
        console.print(f"no river, so no ADWIN beside (--no-river leaves it out): {error}", markup=False)
        return None


if __name__ == "__main__":
    typer.run(main)
