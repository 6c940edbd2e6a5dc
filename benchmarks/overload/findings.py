"""From what callers noted to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.overload.caller import REFUSALS, Ending, Kind
from benchmarks.report import Table

BEGIN, END, KIND, ENDING, WAIT, WRONG = range(6)
_QUICK_FACTOR, _QUICK_S = 3.0, 0.05
_IN_A_ROW = 10

Rows = NDArray[np.float64]


def within(rows: Rows, begin: float, end: float) -> Rows:
    """Those of the requests that were sent then."""
    return rows[(rows[:, BEGIN] >= begin) & (rows[:, BEGIN] < end)]


def fair_shares(wanted: Mapping[str, float], capacity: float) -> dict[str, float]:
    """Max-min: what one doesn't want of an equal share is divided among the others."""
    shares: dict[str, float] = {}
    for at, (name, wants) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        shares[name] = min(wants, (capacity - sum(shares.values())) / (len(wanted) - at))
    return shares


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How requests that were taken fared; ``late`` were answered after their deadline by the callers' clock."""

    taken: int
    expired: int
    late: int
    worst_ms: float

    @classmethod
    def of(cls, rows: Rows, kinds: Sequence[Kind]) -> Deadlines:
        timeouts = np.array([kind.timeout_s for kind in kinds])[rows[:, KIND].astype(int)]
        answered, expired = rows[:, ENDING] == Ending.ANSWERED, rows[:, ENDING] == Ending.EXPIRED
        beyond = (rows[:, END] - rows[:, BEGIN] - timeouts)[answered]
        late = beyond[beyond > 0]
        return cls(
            taken=int(answered.sum() + expired.sum()),
            expired=int(expired.sum()),
            late=len(late),
            worst_ms=float(late.max() * 1e3) if len(late) else 0.0,
        )

    @property
    def missed(self) -> float:
        """Share of those that were taken."""
        return (self.expired + self.late) / max(1, self.taken)


def percentiles(rows: Rows) -> dict[str, float]:
    """p50, p99 and the longest of the latencies, ms."""
    if not len(rows):
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    latencies = (rows[:, END] - rows[:, BEGIN]) * 1e3
    return {
        "p50": float(np.percentile(latencies, 50)),
        "p99": float(np.percentile(latencies, 99)),
        "max": float(latencies.max()),
    }


def answered_at(rows: Rows) -> NDArray[np.float64]:
    """When requests were answered, of those that were."""
    return rows[rows[:, ENDING] == Ending.ANSWERED, END]


def per_second(instants: NDArray[np.float64], begin: float, end: float) -> NDArray[np.int64]:
    """How many in each whole second."""
    return np.histogram(instants, bins=np.arange(begin, end + 1e-9, 1.0))[0]


def are_refused(rows: Rows) -> NDArray[np.bool_]:
    return np.isin(rows[:, ENDING], REFUSALS)


def recovered_in_s(probes: Rows, *, quiet_until: float, ended: float) -> float | None:
    """Seconds from the load's end to the first of ten requests in a row that were answered as quickly as before it."""
    quiet = probes[probes[:, BEGIN] < quiet_until]
    limit_s = max(_QUICK_FACTOR * percentiles(quiet)["p99"] / 1e3, _QUICK_S)
    after = probes[probes[:, BEGIN] >= ended]
    after = after[np.argsort(after[:, BEGIN])]
    good = (after[:, ENDING] == Ending.ANSWERED) & (after[:, END] - after[:, BEGIN] <= limit_s)
    for at in range(len(after) - _IN_A_ROW + 1):
        if good[at : at + _IN_A_ROW].all():
            return float(after[at, BEGIN] - ended)
    return None


def memory_table(samples: Sequence[tuple[str, Mapping[str, float]]]) -> Table:
    """MB by part of the suite, a row for each moment."""
    parts = list(samples[0][1])
    return Table(["<memory, MB", *parts], [[name, *(f"{held[part]:.0f}" for part in parts)] for name, held in samples])


def as_json(figures: Any) -> Any:
    """Numbers of numpy as Python's."""
    if isinstance(figures, dict):
        return {str(key): as_json(value) for key, value in figures.items()}
    if isinstance(figures, (list, tuple)):
        return [as_json(value) for value in figures]
    return figures.item() if isinstance(figures, np.generic) else figures
