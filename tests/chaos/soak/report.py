"""What a soak found, for people: a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rich import box
from rich.table import Table

from tests.chaos.soak.census import MEMORY
from tests.chaos.soak.course import Findings
from tests.chaos.soak.verdict import Line

_WIDE, _HIGH, _LEFT, _TOP = 900, 110, 150, 24
_COLOUR, _PALE = "#0b6e99", "#c9d6dd"
_MORE = ("/dev/shm: MB", "Redis: keys", "Redis: entries in lanes", "home: files")


def table(lines: Sequence[Line]) -> Table:
    """Every figure before, at most during, and after."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    made.add_column("")
    made.add_column("figure", no_wrap=True)
    for name in ("before", "most", "after", "limit"):
        made.add_column(name, justify="right")
    for line in lines:
        mark = "" if line.limit is None else "[red]✗[/]" if line.is_bad else "[green]✓[/]"
        limit = "" if line.limit is None else f"{line.limit:,.1f}"
        made.add_row(mark, line.name, *(f"{one:,.1f}" for one in (line.before, line.most, line.after)), limit)
    return made


def svg_of(found: Findings) -> str:
    """Memory by role and a few more figures over time; a pale line for each fault."""
    names = [*(name for name in found.before if name.endswith(MEMORY)), *_MORE]
    end = max((at for at, _ in found.samples), default=1.0)
    height = len(names) * (_HIGH + _TOP)
    drawn = [
        f'<g transform="translate(0 {place * (_HIGH + _TOP)})">{_chart(name, found, end)}</g>'
        for place, name in enumerate(names)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE + _LEFT} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDE + _LEFT}" height="{height}" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def _chart(name: str, found: Findings, end: float) -> str:
    values = [(at, census.get(name, 0.0)) for at, census in found.samples]
    highest = max([value for _, value in values] + [found.before.get(name, 0.0), 1e-9])
    points = " ".join(
        f"{_LEFT + at / end * (_WIDE - 10):.0f},{_TOP + _HIGH - value / highest * _HIGH:.0f}" for at, value in values
    )
    faults = "".join(f"M{_LEFT + at / end * (_WIDE - 10):.0f} {_TOP}v{_HIGH}" for at, _ in found.faults)
    return (
        f'<path d="{faults}" stroke="{_PALE}"/><text x="4" y="{_TOP + 12}">{escape(name)}</text>'
        f'<text x="4" y="{_TOP + 28}" fill="#666">at most {highest:,.1f}</text>'
        f'<polyline points="{points}" fill="none" stroke="{_COLOUR}" stroke-width="1.5"/>'
    )
