"""``penstock-eval nab``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.monitor.evaluation.nab import PROFILES, Judged, best, judge
from services.monitor.evaluation.stamps import seconds_of

_screen = Console(stderr=True)


def register(app: typer.Typer) -> None:
    app.command("nab", epilog="Example: penstock-eval nab scores --windows NAB/labels/combined_windows.json")(nab)


def nab(
    scores: Annotated[Path, typer.Argument(help="Folder that `penstock-eval series` wrote for NAB's data folder.")],
    windows: Annotated[Path, typer.Option(help="NAB's labels/combined_windows.json.")],
) -> None:
    """Score against the windows of the Numenta Anomaly Benchmark, with the threshold that is best for all files."""
    try:
        labels: dict[str, list[list[str]]] = json.loads(windows.read_text(encoding="utf-8"))
        files = _judge_all(scores, labels)
        results = [best(files, profile) for profile in PROFILES]
    except (OSError, ValueError, KeyError) as error:
        _screen.print(f"[red]error[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None
    table = Table("profile", "score", "windows found", "false alarms", "threshold")
    for one in results:
        table.add_row(
            one.profile,
            f"{one.score:.1f}",
            f"{one.found} of {one.windows}",
            str(one.false_alarms),
            f"{one.threshold:.4f}",
        )
    Console().print(table)


def _judge_all(folder: Path, labels: dict[str, list[list[str]]]) -> list[Judged]:
    """Raises ValueError: a file that has labels has no scores."""
    judged, numbered = [], 0
    for name, spans in labels.items():
        path = next((one for one in (folder / name, folder / Path(name).name) if one.is_file()), None)
        if path is None:
            raise ValueError(f"{folder} has no scores of {name}")
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        times = np.array([seconds_of(row["timestamp"]) for row in rows], dtype=np.float64)
        found = np.array([float(row["anomaly_score"]) for row in rows])
        edges = []
        for begin, end in spans:
            inside = np.flatnonzero((times >= (seconds_of(begin) or 0.0)) & (times <= (seconds_of(end) or 0.0)))
            if inside.size:
                edges.append((int(inside[0]), int(inside[-1])))
        judged.append(judge(found, edges, first_window=numbered))
        numbered += len(edges)
    return judged
