"""Runs spread over processes, with a bar."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.evaluation.journal import Journal
from tests.evaluation.rivals import Adwin, always, thresholds
from tests.evaluation.run import Job, Outcome, Rivals, carry_out_together, together

_rivals: Rivals = {}
"""Of this process."""


def rivals(python: str | None) -> Rivals:
    """``python``: one that has river; None leaves ADWIN out."""
    return {
        "an alarm each second": always,
        "fixed thresholds": thresholds,
        **({"river's ADWIN": Adwin(python)} if python else {}),
    }


def _begin(python: str | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the one that the processes work for
    global _rivals  # noqa: PLW0603 - what a process of the pool has
    _rivals = rivals(python)


def _some(jobs: Sequence[Job]) -> list[Outcome]:
    return list(carry_out_together(jobs, _rivals))


def carry_out_all(
    missing: Sequence[Job], journal: Journal, *, workers: int, python: str | None, console: Console
) -> bool:
    """True when it was not interrupted."""
    if not missing:
        return True
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(missing)), context, initializer=_begin, initargs=(python,))
    try:
        with bar:
            task = bar.add_task("runs", total=len(missing))
            for done in as_completed([pool.submit(_some, jobs) for jobs in together(missing)]):
                for outcome in done.result():
                    journal.write(outcome)
                    bar.advance(task)
    except KeyboardInterrupt:
        return False
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():  # none works any more where all went well
            child.terminate()
    return True
