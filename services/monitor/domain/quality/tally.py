"""Figures of one version's labels: all, the last ones, by age, and by slice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.monitor.domain.blocks import NS
from services.monitor.domain.quality.labels import Judgement
from services.monitor.domain.quality.means import Mean

AGE_LIMITS_S = (60, 600, 3_600, 86_400)
"""Where ages of labels end; the last has no end."""
RECENT_LABELS = 1_000
MAX_SLICES = 64
MAX_METRICS = 12
OTHER_SLICE = "_overflow"
SHARES = frozenset({"accuracy"})


class Cell(NamedTuple):
    """Which labels a figure is of. ``age`` is the number of an age, None for all."""

    metric: str
    age: int | None = None
    slice: str = ""
    is_recent: bool = False


def age_of(age_s: float) -> int:
    """The number of an age: labels are compared with others that took about as long, since early ones are often others
    than late ones.
    """
    return sum(age_s >= limit for limit in AGE_LIMITS_S)


@dataclass(slots=True)
class Tally:
    """Bounded: so many metrics and slices, of which further ones share one, and the figures of the last labels."""

    labels: int = 0
    last_ns: int = 0
    _means: dict[tuple[str, int | None, str], Mean] = field(default_factory=dict)
    _recent: deque[Mapping[str, float]] = field(default_factory=lambda: deque(maxlen=RECENT_LABELS))
    _metrics: set[str] = field(default_factory=set)
    _slices: set[str] = field(default_factory=set)

    def add(self, judgement: Judgement, *, age_s: float, slices: Sequence[tuple[str, str]], now_ns: int) -> None:
        self.labels += 1
        self.last_ns = max(self.last_ns, now_ns)
        figures = {name: value for name, value in judgement.figures.items() if self._takes_metric(name)}
        named = {self._slice(f"{key}={value}") for key, value in slices}
        for name, value in figures.items():
            for age, one in ((None, ""), (age_of(age_s), ""), *((None, one) for one in named)):
                self._means.setdefault((name, age, one), Mean()).add(value)
        self._recent.append(figures)

    def _takes_metric(self, name: str) -> bool:
        if name not in self._metrics and len(self._metrics) < MAX_METRICS:
            self._metrics.add(name)
        return name in self._metrics

    def _slice(self, name: str) -> str:
        if name not in self._slices and len(self._slices) < MAX_SLICES:
            self._slices.add(name)
        return name if name in self._slices else OTHER_SLICE

    def means(self) -> Iterator[tuple[Cell, Mean]]:
        """By metric: all labels, the last ones, then by age and by slice."""
        recent: dict[str, Mean] = {}
        for figures in self._recent:
            for name, value in figures.items():
                recent.setdefault(name, Mean()).add(value)
        found = [(Cell(name, age, one), mean) for (name, age, one), mean in self._means.items()]
        found += [(Cell(name, is_recent=True), mean) for name, mean in recent.items()]
        yield from sorted(found, key=_order)

    def mean_of(self, metric: str) -> Mean | None:
        """Of all labels."""
        return self._means.get((metric, None, ""))

    def dump(self) -> dict[str, Any]:
        """As plain JSON values; the last labels are left out."""
        means = [[name, age, one, *mean.dump()] for (name, age, one), mean in self._means.items()]
        return {"labels": self.labels, "last_ns": self.last_ns, "means": means}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Tally:
        """The reverse of :meth:`dump`.

        Raises:
            KeyError, TypeError, ValueError: the data are of another make.
        """
        tally = cls(int(data["labels"]), int(data["last_ns"]))
        for name, age, one, *mean in data["means"]:
            tally._means[str(name), age, str(one)] = Mean.load(mean)
            tally._metrics.add(str(name))
            if one:
                tally._slices.add(str(one))
        return tally


def ages() -> Iterator[tuple[int, int | None]]:
    """From and to, ns; None without end."""
    limits = [0, *(limit * NS for limit in AGE_LIMITS_S)]
    yield from zip(limits, [*limits[1:], None], strict=True)


def _order(one: tuple[Cell, Mean]) -> tuple[str, int, int, str]:
    cell, _ = one
    kind = 3 if cell.slice else 2 if cell.age is not None else 1 if cell.is_recent else 0
    return cell.metric, kind, cell.age or 0, cell.slice
