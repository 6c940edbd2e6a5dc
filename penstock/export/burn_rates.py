"""How fast an error budget may burn before somebody is told: several windows, several rates.

The method is that of the Site Reliability Workbook's chapter on alerting on SLOs (multiwindow, multi-burn-rate alerts).
A burn rate of 1 uses the budget up exactly over the objective's window. The long window says that it matters, the short
one, a twelfth of it, that it still goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_USUAL_DAYS = 30
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Burn:
    """A rate that is too fast if it holds over both windows, seconds."""

    rate: float
    long_s: int
    short_s: int
    severity: str


def burns(window_days: int) -> list[Burn]:
    """The rates for an objective over so many days: 2 %, 5 %, 10 % and 10 % of its budget in the long windows."""
    return [
        Burn(rate, _scaled(long_s, window_days), _scaled(long_s // _SHORT, window_days), severity)
        for rate, long_s, severity in (
            (14.4, _HOUR_S, "page"),
            (6.0, 6 * _HOUR_S, "page"),
            (3.0, _DAY_S, "ticket"),
            (1.0, 3 * _DAY_S, "ticket"),
        )
    ]


def _scaled(seconds: int, window_days: int) -> int:
    """Windows keep their share of the objective's, in whole minutes; at least two, which hold enough scrapes."""
    return max(2, round(seconds * window_days / _USUAL_DAYS / _MINUTE_S)) * _MINUTE_S


def named(seconds: int) -> str:
    """A window as Prometheus writes it: ``5m``, ``1h``, ``3d``."""
    for unit, size in (("d", _DAY_S), ("h", _HOUR_S)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds // _MINUTE_S}m"
