"""``penstock drift``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from penstock.cli import options
from penstock.cli.following import following
from penstock.cli.histograms import histogram
from penstock.cli.output import Json, duration, reporting, size
from penstock.cli.tables import Rows
from penstock.cli.words import SHARES, bar, enum_words, signal_words
from penstock.client import Client
from penstock.monitor.v1.drift_service_pb2 import FigurePart, VersionDrift, WatchedFigure
from penstock.monitor.v1.monitor_service_pb2 import Incident

_COLOURS = {
    WatchedFigure.STATE_LEARNING: "cyan",
    WatchedFigure.STATE_WATCHING: "green",
    WatchedFigure.STATE_ALARMED: "bold red",
    WatchedFigure.STATE_BLIND: "yellow",
}
_SHOWN = 3
"""Figures of a version whose values are plotted."""
_NOTEWORTHY = 0.1
"""Share of the evidence that is an alarm from which on a figure is plotted."""


def register(app: typer.Typer) -> None:
    app.command("drift", epilog="Examples: penstock drift · penstock drift digits --watch · penstock drift --json")(
        drift
    )


@reporting
def drift(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only this model.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Plot all that can be plotted, not only what has moved.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show how far each version is from what it used to be: speed, errors, answers, inputs, replicas.

    EVIDENCE is that a figure has left its course; where the bar is full an incident is opened, which happens by chance
    as rarely as the fleet's budget says. NORMAL is what was learnt of the version itself, NOW the last minute.
    """
    with Client(monitor=monitor) as client:
        following(
            lambda: client.drift(model=model),
            partial(view, everything=everything),
            interval_s=interval,
            is_json=json,
            is_once=not watch,
        )


def view(versions: list[VersionDrift], *, everything: bool = False) -> RenderableType:
    """What is watched, version by version."""
    if not versions:
        return "Nothing is watched: no version had requests in the last ten minutes."
    lines: list[RenderableType] = []
    for one in versions:
        if lines:
            lines.append("")
        lines += [_title(one), _table(one), *_plots(one, everything=everything)]
    return Group(*lines)


def _title(one: VersionDrift) -> str:
    counts = []
    for state in (WatchedFigure.STATE_ALARMED, WatchedFigure.STATE_LEARNING, WatchedFigure.STATE_BLIND):
        number = sum(figure.state == state for figure in one.figures)
        if number:
            counts.append(f"[{_COLOURS[state]}]{number} {_word(state)}[/]")
    rest = ", ".join(counts) or f"[{_COLOURS[WatchedFigure.STATE_WATCHING]}]nothing in alarm[/]"
    needed = max((figure.log_evalue_needed for figure in one.figures), default=0.0)
    limit = f"  [dim]an alarm is 10^{needed / math.log(10):.1f}[/]" if needed else ""
    return f"[bold]{escape(one.model)} {escape(one.version)}[/]  {escape(one.arm)}  {rest}{limit}"


def _table(one: VersionDrift) -> Rows:
    rows = Rows("~FIGURE", "EVIDENCE", "~OF", ">NORMAL", ">NOW")
    for figure in one.figures:
        rows.add_row(
            escape(_name(figure)),
            _evidence(figure),
            _note(figure),
            _value(figure, figure.normal.value) if figure.HasField("normal") else "–",
            _value(figure, figure.now.value) if figure.HasField("now") else "–",
        )
    return rows


def _word(state: WatchedFigure.State) -> str:
    return enum_words(WatchedFigure.State.Name(state), "STATE_")


def _name(figure: WatchedFigure) -> str:
    signal = signal_words(figure.signal, figure.phase)
    # Without what is new with each of a replica's processes.
    return f"{signal}, {figure.replica.partition('@')[0]}" if figure.replica else signal


def _evidence(figure: WatchedFigure) -> str:
    """How much of the evidence that is an alarm is there, and how unlikely that is by chance."""
    colour, word = _COLOURS.get(figure.state, "dim"), _word(figure.state)
    if figure.state == WatchedFigure.STATE_ALARMED:
        return f"{bar(1.0, colour)} [{colour}]{word}[/]"
    if figure.state == WatchedFigure.STATE_BLIND or not figure.HasField("normal"):
        return f"[{colour}]{word}[/]"
    power = max(0.0, figure.log_evalue) / math.log(10)
    return f"{bar(_progress(figure), 'yellow')} 10^{power:.1f}"


def _note(figure: WatchedFigure) -> str:
    """What normal and now are of, and why nothing more is known."""
    texts = [escape(figure.label), f"[dim]{escape(figure.reason)}[/]" if figure.reason else ""]
    return "; ".join(text for text in texts if text)


def _progress(figure: WatchedFigure) -> float:
    needed = figure.log_evalue_needed
    return min(1.0, max(0.0, figure.log_evalue / needed)) if needed else 0.0


def _value(figure: WatchedFigure, value: float) -> str:
    if figure.unit == "s":
        return duration(value)
    if figure.unit == "By":
        return size(round(value))
    if figure.signal in SHARES or figure.replica:
        return f"{value:.2%}"
    return f"{value:.4g} nat" if figure.unit == "{nat}" else f"{value:.4g}"


def _plots(one: VersionDrift, *, everything: bool) -> Iterator[RenderableType]:
    """How values lie, then and now, of those figures that have moved most."""
    shown = 0
    for figure in one.figures:
        has_moved = figure.state == WatchedFigure.STATE_ALARMED or _progress(figure) >= _NOTEWORTHY
        plotted = list(_histograms(figure, most=len(figure.parts) if everything else 1))
        if plotted and (everything or (has_moved and shown < _SHOWN)):
            shown += 1
            yield ""
            yield from plotted


def _histograms(figure: WatchedFigure, *, most: int) -> Iterator[RenderableType]:
    if figure.signal == Incident.SIGNAL_CLASS_MIX:
        parts = figure.parts
        now = [part.now.value for part in parts] if figure.HasField("now") else []
        if parts:
            ends = parts[0].label, parts[-1].label
            yield from histogram("classes", [part.normal for part in parts], now, ends=ends)
    elif figure.HasField("histogram"):
        edges = figure.histogram.edges
        ends = (_value(figure, edges[0]), _value(figure, edges[-1])) if edges else ("", "")
        shares = list(figure.histogram.normal_shares), list(figure.histogram.now_shares)
        yield from histogram(_name(figure), *shares, ends=ends, distance=figure.histogram.distance)
    else:
        features = [part for part in figure.parts if part.HasField("histogram")]
        for part in sorted(features, key=lambda part: (part.label != figure.label, -part.histogram.distance))[:most]:
            yield from _feature(part)


def _feature(part: FigurePart) -> Iterator[RenderableType]:
    edges = part.histogram.edges
    ends = (f"{edges[0]:.4g}", f"{edges[-1]:.4g}") if edges else ("", "")
    shares = list(part.histogram.normal_shares), list(part.histogram.now_shares)
    yield from histogram(f"inputs: {part.label}", *shares, ends=ends, distance=part.histogram.distance)
