"""Answers around faults as a small SVG, written by hand: a page on a code host shows it as it is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import median

from tests.chaos.repetition import AFTER_S, BEFORE_S, BIN_S
from tests.chaos.summary import Summary

_COLUMNS, _WIDE, _HIGH, _GAP, _TOP = 3, 280, 60, 20, 18
_MOST = 12
_BINS = round((BEFORE_S + AFTER_S) / BIN_S)
_WORTH_S = 0.4
"""Faults whose answers stayed away for less, in the median, have no picture."""


def svg_of(summaries: Sequence[Summary]) -> str:
    """A small picture for each fault that can be seen: the median of its repetitions, and the worst in pale."""
    shown = [one for one in summaries if (one.recovery(0.5) or 0) >= _WORTH_S][:_MOST]
    rows = -(-len(shown) // _COLUMNS)
    width, height = _COLUMNS * (_WIDE + _GAP) + _GAP, rows * (_HIGH + _TOP + _GAP) + _GAP
    drawn = []
    for place, one in enumerate(shown):
        row, column = divmod(place, _COLUMNS)
        x, y = _GAP + column * (_WIDE + _GAP), _GAP + row * (_HIGH + _TOP + _GAP)
        drawn.append(f'<g transform="translate({x} {y})">{_picture(one)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def _picture(one: Summary) -> str:
    lines = [repetition.timeline for repetition in one.repetitions if repetition.timeline and repetition.usual_rate]
    usual = median(repetition.usual_rate for repetition in one.repetitions if repetition.usual_rate) * BIN_S
    worst = max(
        (repetition for repetition in one.repetitions if repetition.timeline), key=lambda each: each.recovery_s or 0
    )
    # Some were over sooner; of the others, too few tell what is typical.
    typical = [median(column) for place in range(_BINS) if len(column := _column(lines, place)) * 2 > len(lines)]
    struck = _x(BEFORE_S / BIN_S)
    return (
        f'<text y="10">{escape(one.fault.name)}</text><g transform="translate(0 {_TOP})">'
        f'<rect width="{_WIDE}" height="{_HIGH}" fill="#f4f6f8"/>'
        f'<polyline points="{_points(worst.timeline, usual)}" fill="none" stroke="#e0a080"/>'
        f'<polyline points="{_points(typical, usual)}" fill="none" stroke="#0b6e99" stroke-width="1.5"/>'
        f'<path d="M{struck:.1f} 0V{_HIGH}" stroke="#c0392b" stroke-dasharray="3"/>'
        f'<text x="{_WIDE}" y="{_HIGH + 11}" text-anchor="end" fill="#666">{AFTER_S:g} s</text></g>'
    )


def _points(line: Sequence[float], usual: float) -> str:
    heights = (_HIGH - min(value / usual / 1.5, 1.0) * _HIGH for value in line)
    return " ".join(f"{_x(place):.0f},{height:.0f}" for place, height in enumerate(heights))


def _column(lines: Sequence[Sequence[int]], place: int) -> list[int]:
    return [line[place] for line in lines if place < len(line)]


def _x(place: float) -> float:
    return place / (_BINS - 1) * _WIDE
