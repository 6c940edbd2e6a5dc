"""Grouped bar charts as SVG, written by hand: a page on a code host shows them as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 260, 60, 34, 28
COLOURS = ("#0b6e99", "#e07a1f", "#5a9e3d", "#9b59b6", "#c0392b", "#7f8c8d", "#d4ac0d", "#16a085", "#8d6e63", "#34495e")


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of each series (a name, and a height for each group); ``line_at`` draws a line across."""

    title: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float]]
    line_at: float | None = None


def svg_of(charts: Sequence[Chart]) -> str:
    """The charts one below the other, with one legend: series have the same colour in all of them."""
    names = list(dict.fromkeys(name for chart in charts for name in chart.series))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    parts, top = [], 0
    for chart in charts:
        parts.append(f'<g transform="translate(0 {top})">{"".join(_bars(chart, colours))}</g>')
        top += HEIGHT
    per_row = 5
    for index, name in enumerate(names):
        x, y = LEFT + index % per_row * 165, top + 18 + index // per_row * 20
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colours[name]}"/>')
        parts.append(f'<text x="{x + 17}" y="{y}">{escape(name)}</text>')
    height = top + 20 + 20 * math.ceil(len(names) / per_row)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _bars(chart: Chart, colours: Mapping[str, str]) -> list[str]:
    highest = max((value for values in chart.series.values() for value in values), default=1.0) or 1.0
    scale = (HEIGHT - TOP - BOTTOM) / highest
    base, wide = HEIGHT - BOTTOM, (WIDTH - LEFT - 10) / max(1, len(chart.groups))
    bar = wide * 0.9 / max(1, len(chart.series))
    drawn = [
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(chart.title)}</text>',
        f'<path d="M{LEFT} {base}H{WIDTH - 10}" stroke="#444"/>',
    ]
    for index, group in enumerate(chart.groups):
        x = LEFT + index * wide
        drawn.append(f'<text x="{x + wide * 0.45:.1f}" y="{base + 16}" text-anchor="middle">{escape(group)}</text>')
        for place, (name, values) in enumerate(chart.series.items()):
            value, left = values[index], x + place * bar
            height = value * scale
            box = f'x="{left:.1f}" y="{base - height:.1f}" width="{bar * 0.92:.1f}" height="{height:.1f}"'
            drawn.append(f'<rect {box} fill="{colours[name]}"/>')
            label = f'x="{left + bar / 2:.1f}" y="{base - height - 3:.1f}" text-anchor="middle" font-size="9"'
            drawn.append(f"<text {label}>{_short(value)}</text>")
    if chart.line_at is not None:
        drawn.append(
            f'<path d="M{LEFT} {base - chart.line_at * scale:.1f}H{WIDTH - 10}" stroke="#444" stroke-dasharray="4"/>'
        )
    return drawn


def _short(value: float) -> str:
    if not value:
        return ""
    if value >= 10_000:
        return f"{value / 1_000:.0f}k"
    if value >= 1_000:
        return f"{value / 1_000:.1f}k"
    return f"{value:.3g}"
