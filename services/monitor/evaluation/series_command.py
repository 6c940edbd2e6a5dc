"""``penstock-eval series``."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from services.monitor.evaluation.multivariate import MultivariateScorer
from services.monitor.evaluation.series import SeriesScorer
from services.monitor.evaluation.series_files import Row, SeriesFileError, SeriesReader, targets
from services.monitor.evaluation.stamps import seconds_of

_ROWS_PER_TICK = 1_000

_screen = Console(stderr=True)


class Scorer(Protocol):
    def score(self, values: tuple[float, ...]) -> float: ...


class _Univariate:
    def __init__(self) -> None:
        self._scorer = SeriesScorer()

    def score(self, values: tuple[float, ...]) -> float:
        return self._scorer.score(values[0])


def register(app: typer.Typer) -> None:
    app.command("series", epilog="Example: penstock-eval series cpu.csv latency.csv --out scores")(series)


def series(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the scores; made if it isn't there.")],
    multivariate: Annotated[bool, typer.Option("--multivariate", help="Rows are timestamp,v1,v2,…")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a file at its first bad row.")] = False,
) -> None:
    """Score each row of series by what came before it: timestamp,value → timestamp,value,anomaly_score.

    Every row is written, in its order. A row without a finite value scores 0 and is left out of what is learnt; rows
    whose stamps go back, repeat or can't be read are scored in the order of the file. Each is counted and said.
    """
    failed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_screen) as progress:
        found = targets(files, out)
        whole = progress.add_task("files", total=len(found))
        for source, target in found:
            task = progress.add_task(escape(source.name), total=None)
            try:
                _score(source, target, is_multivariate=multivariate, is_strict=strict, progress=progress, task=task)
            except (SeriesFileError, OSError) as error:
                failed += 1
                progress.console.print(f"[red]error[/] {escape(str(error))}", highlight=False)
            progress.remove_task(task)
            progress.advance(whole)
    if failed:
        _screen.print(f"{failed} of {len(found)} files were not scored.")
        raise typer.Exit(1)


def _score(
    source: Path, target: Path, *, is_multivariate: bool, is_strict: bool, progress: Progress, task: TaskID
) -> None:
    """Scores go to a file beside the target first, so that what is under its name is whole."""
    if not source.is_file():
        raise SeriesFileError(f"{source}: no such file")
    if target.resolve() == source.resolve():
        raise SeriesFileError(f"{source}: its scores would replace it, choose another --out")
    reader = SeriesReader(source, is_multivariate=is_multivariate)
    scorer: Scorer = MultivariateScorer(len(reader.columns.values)) if is_multivariate else _Univariate()
    progress.update(task, total=source.stat().st_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    started, rows, previous = time.perf_counter(), 0, None
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["timestamp", *reader.columns.names, "anomaly_score"])
            for row in reader:
                previous = _check_order(row, previous, reader)
                if is_strict and reader.oddities.counts:
                    raise SeriesFileError(f"{source}: {reader.oddities}")
                writer.writerow([row.stamp, *row.texts, f"{scorer.score(row.values):.9f}"])
                rows += 1
                if rows % _ROWS_PER_TICK == 0:
                    progress.update(task, completed=reader.bytes_read)
        if not rows:
            raise SeriesFileError(f"{source}: no rows after the header")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    seconds = max(time.perf_counter() - started, 1e-9)
    said = f" [yellow]{escape(str(reader.oddities))}[/]" if reader.oddities.counts else ""
    progress.console.print(f"{escape(str(target))}: {rows} rows, {rows / seconds:,.0f} rows/s{said}", highlight=False)


def _check_order(row: Row, previous: float | None, reader: SeriesReader) -> float | None:
    """The later of both times."""
    now = seconds_of(row.stamp)
    if now is None:
        reader.oddities.note("stamp that can't be read", row.line)
        return previous
    if previous is not None and now <= previous:
        reader.oddities.note("repeated stamp" if now == previous else "stamp earlier than one before", row.line)
        return previous
    return now
