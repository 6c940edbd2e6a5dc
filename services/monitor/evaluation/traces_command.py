"""``penstock-eval traces``."""

from __future__ import annotations

import csv
import json as json_module
import sys
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from services.monitor.evaluation.periods import Period
from services.monitor.evaluation.spans import Span, visits
from services.monitor.evaluation.stamps import seconds_of
from services.monitor.evaluation.suspects import Suspect, rank
from services.monitor.evaluation.trace_files import TraceFileError, read_spans

_UNITS = ((1e17, 1.0), (1e14, 1e3), (1e11, 1e6), (0.0, 1e9))
"""Numbers from 1e17 are nanoseconds since 1970, from 1e14 micro-, from 1e11 milliseconds, below seconds."""

_screen = Console(stderr=True)


def register(app: typer.Typer) -> None:
    app.command("traces", epilog="Example: penstock-eval traces spans.csv --reference-until 2026-01-31T12:00:00Z")(
        traces
    )


def traces(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="OTLP JSON, or CSV rows.")],
    reference_until: Annotated[
        str, typer.Option(help="Traces that begin before are the reference: ISO 8601, or a number since 1970.")
    ] = "",
    reference: Annotated[list[Path] | None, typer.Option(help="File with the reference's traces; may repeat.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write CSV here instead of a table.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    top: Annotated[int, typer.Option(min=1, help="So many suspects at most.")] = 20,
    max_spans: Annotated[int, typer.Option(min=1, help="Refuse more: they are held in memory.")] = 5_000_000,
) -> None:
    """Rank the services, operations and replicas where a change in traces began.

    CSV columns: trace_id,span_id,parent_id,service,operation,replica,start_ns,duration_ns,status.
    """
    if bool(reference_until) == bool(reference):
        raise typer.BadParameter("give one of --reference-until TIME and --reference FILE")
    before, after = Period(), Period()
    try:
        if reference:
            _gather(reference, max_spans, until_ns=None, before=before, after=before)
            _gather(files, max_spans, until_ns=None, before=after, after=after)
        else:
            _gather(files, max_spans, until_ns=_nanoseconds(reference_until), before=before, after=after)
    except (TraceFileError, OSError) as error:
        _screen.print(f"[red]error[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None
    for period, name in ((before, "reference"), (after, "judged")):
        if not period.traces:
            _screen.print(f"[red]error[/] no trace is in the {name} period")
            raise typer.Exit(1)
    _screen.print(f"{before.traces} traces of reference, {after.traces} judged")
    _show(rank(before, after)[:top], out=out, is_json=json)


def _gather(files: list[Path], max_spans: int, *, until_ns: float | None, before: Period, after: Period) -> None:
    """A trace belongs to the period in which its first span begins."""
    gathered: defaultdict[str, list[Span]] = defaultdict(list)
    count = 0
    for path in track(files, description="reading", console=_screen, transient=True):
        if not path.is_file():
            raise TraceFileError(f"{path}: no such file")
        for span in read_spans(path):
            count += 1
            if count > max_spans:
                raise TraceFileError(f"{path}: more than {max_spans} spans, give fewer or raise --max-spans")
            gathered[span.trace_id].append(span)
    for trace in gathered.values():
        is_before = until_ns is not None and min(span.start_ns for span in trace) < until_ns
        (before if is_before else after).add(list(visits(trace)))


def _nanoseconds(text: str) -> float:
    """Raises BadParameter."""
    seconds = seconds_of(text)
    if seconds is None:
        raise typer.BadParameter(f"got {text!r}, expected ISO 8601 or a number", param_hint="--reference-until")
    if not text.replace(".", "", 1).isdigit():
        return seconds * 1e9
    return seconds * next(factor for least, factor in _UNITS if seconds >= least)


def _show(suspects: list[Suspect], *, out: Path | None, is_json: bool) -> None:
    if is_json:
        for one in suspects:
            line = {
                "service": one.place.service,
                "operation": one.place.operation,
                "replica": one.place.replica,
                "score": round(one.score, 6),
                "reasons": one.reasons,
                "traces": one.traces,
            }
            sys.stdout.write(json_module.dumps(line) + "\n")
        return
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["rank", "service", "operation", "replica", "score", "reason", "traces"])
            for place, one in enumerate(suspects, start=1):
                where = one.place
                reason = "; ".join(one.reasons)
                writer.writerow(
                    [
                        place,
                        where.service,
                        where.operation,
                        where.replica,
                        f"{one.score:.6f}",
                        reason,
                        " ".join(one.traces),
                    ]
                )
        return
    if not suspects:
        _screen.print("Nothing differs from the reference beyond chance.")
    table = Table("#", "service", "operation", "replica", "score", "why")
    for place, one in enumerate(suspects, start=1):
        names = map(escape, (one.place.service, one.place.operation, one.place.replica))
        table.add_row(str(place), *names, f"{one.score:.3f}", escape("\n".join(one.reasons)))
    Console().print(table)
