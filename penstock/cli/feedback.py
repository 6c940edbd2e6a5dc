"""``penstock feedback``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from penstock import label_files
from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, stderr, time, warn
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.feedback import Told, label
from penstock.monitor.v1.feedback_service_pb2 import Label, QualityFigure, VersionQuality

_WORDS = {
    "joined": "joined",
    "pending": "wait for their prediction",
    "unknown": "of requests that nobody knows",
    "duplicate": "told before",
    "refused": "refused",
}


def register(app: typer.Typer) -> None:
    app.command(
        "feedback",
        epilog="Examples: penstock feedback digits --id a17 --label 3 · penstock feedback digits --file labels.csv",
    )(feedback)


@reporting
def feedback(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="The model; without, all that is known is shown.")
    ] = "",
    request_id: Annotated[str, typer.Option("--id", metavar="ID", help="The id that the request had.")] = "",
    truth: Annotated[
        str, typer.Option("--label", metavar="LABEL", help="The right answer: a class' number or name, or a number.")
    ] = "",
    kind: Annotated[
        str,
        typer.Option(
            "--as", metavar="KIND", help="What labels are: class, name or number. Default: by what they look like."
        ),
    ] = "auto",
    row: Annotated[int, typer.Option(min=0, help="Which row of the request.")] = 0,
    slices: Annotated[
        list[str] | None, typer.Option("--slice", metavar="KEY=VALUE", help="What the request was of. Repeatable.")
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", metavar="KEY=NUMBER", help="A figure of your own. Repeatable.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Labels: CSV with a heading, or JSON lines. See docs/feedback.md.",
        ),
    ] = None,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Tell what the right answers were, or show how good versions are.

    A label meets the answer to the request of its id, however much later it comes. What is told twice counts once.
    """
    if kind not in label_files.KINDS:
        raise typer.BadParameter(f"got {kind!r}, expected one of {', '.join(label_files.KINDS)}", param_hint="--as")
    if (request_id or file) and not model:
        raise typer.BadParameter("labels are of a model: name it")
    if request_id and file:
        raise typer.BadParameter("give --id or --file, not both")
    if (truth or slices or metrics) and not request_id:
        raise typer.BadParameter("a label is of a request: give its --id")
    with Client(monitor=monitor) as client:
        if file is not None:
            _show_told(_tell_file(client, model, file, kind, is_quiet=json), is_json=json)
        elif request_id:
            one = label(model, request_id, row=row)
            if truth:
                label_files.set_truth(one, truth, kind)
            one.slices.update(options.pairs(slices or [], option="--slice", read=str))
            one.metrics.update(options.pairs(metrics or [], option="--metric", read=float))
            _show_told(client.feedback.record([one]), is_json=json)
        else:
            found = client.feedback.quality(model)
            if json:
                print_json(found)
            else:
                _show_quality(found)


def _tell_file(client: Client, model: str, file: Path, kind: label_files.Kind, *, is_quiet: bool) -> Told:
    labels: list[Label] = list(label_files.read(file, model, kind=kind))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=stderr, disable=is_quiet, transient=True) as progress:
        task = progress.add_task("labels", total=len(labels))
        return client.feedback.record(labels, progress=lambda told: progress.update(task, completed=told.total))


def _show_told(told: Told, *, is_json: bool) -> None:
    if is_json:
        print_json({"counts": dict(told.counts), "reasons": told.reasons})
        return
    parts = [f"{count} {_WORDS[name]}" for name, count in told.counts.items() if count]
    screen.print(f"[bold]{told.total}[/] labels: {', '.join(parts) or 'none'}")
    for place, reason in told.reasons.items():
        warn(f"label {place + 1}: {reason}")


def _show_quality(versions: Sequence[VersionQuality]) -> None:
    if not versions:
        screen.print("No answers are kept for labels. Begin with: penstock deploy … --feedback")
    for one in versions:
        last = f", the last at {time(one.last_label_time)}" if one.HasField("last_label_time") else ""
        screen.print(f"[bold]{escape(one.model)} {escape(one.version)}[/]  {one.label_count} labels{last}")
        if one.HasField("estimate"):
            hint = one.estimate
            screen.print(
                f"  accuracy without labels: about {hint.value:.2%} ({hint.low:.2%} to {hint.high:.2%}) of the last "
                f"hour's {hint.prediction_count} answers [dim](a hint, from how sure they are)[/]"
            )
        if one.figures:
            screen.print(_figures(one))


def _figures(one: VersionQuality) -> Rows:
    rows = Rows("METRIC", "~OF", ">LABELS", ">VALUE", ">FROM", ">TO")
    for figure in one.figures:
        value, low, high = (_value(figure, number) for number in (figure.value, figure.low, figure.high))
        rows.add_row(escape(figure.metric), escape(_of(figure)), str(figure.label_count), value, low, high)
    return rows


def _of(figure: QualityFigure) -> str:
    if figure.slice:
        return figure.slice
    if figure.is_recent:
        return f"the last {figure.label_count}"
    if not figure.HasField("min_age_duration"):
        return "all labels"
    since = figure.min_age_duration.ToTimedelta()
    if not figure.HasField("max_age_duration"):
        return f"known after {since}"
    return f"known after {since} to {figure.max_age_duration.ToTimedelta()}"


def _value(figure: QualityFigure, value: float) -> str:
    return f"{value:.2%}" if figure.metric == "accuracy" else f"{value:.4g}"
