"""Two histograms below each other, of then and now, in characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape

from penstock.cli.watch import plot

_WIDTH = 2
"""Columns of a bin."""


def histogram(
    name: str, then: Sequence[float], now: Sequence[float], *, ends: tuple[str, str], distance: float | None = None
) -> Iterator[str]:
    """Lines that show shares by bin, both to one scale. ``now`` is empty where nothing came.

    ``ends`` are the values at which the outermost bins end; ``distance`` says how much of it has moved, 0 to 1.
    """
    bars = "".join(bar * _WIDTH for bar in plot([*then, *now]))
    cut = len(then) * _WIDTH
    moved = "" if distance is None or not now else f"  {distance:.0%} elsewhere"
    yield f"[bold]{escape(name)}[/][dim]{moved}[/]"
    yield f"  then [cyan]{bars[:cut]}[/]  [dim]{escape(ends[0])} … {escape(ends[1])}[/]"
    yield f"  now  [yellow]{bars[cut:]}[/]" if now else "  now  [dim]nothing came[/]"
