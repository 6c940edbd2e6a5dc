"""What must come back to where it was, and how near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.soak.census import COUNT, FILES, MEMORY, THREADS, Census


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A figure may end at ``share`` times what it was, and ``more`` above that; less is always well."""

    share: float = 1.0
    more: float = 0.0

    def limit(self, before: float) -> float:
        return before * self.share + self.more


TOLERANCES = {
    MEMORY: Tolerance(1.25, 16),
    FILES: Tolerance(1.0, 6),
    THREADS: Tolerance(1.0, 4),
    COUNT: Tolerance(),
    "keys": Tolerance(1.0, 2),
    "entries in lanes": Tolerance(),
    "entries in somebody's hands": Tolerance(),
    "consumers": Tolerance(1.0, 2),
    "folders": Tolerance(),
    "MB": Tolerance(1.0, 8),
}
"""By the last part of a figure's name. What has none is shown and not judged."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure before and after."""

    name: str
    before: float
    most: float
    after: float
    limit: float | None

    @property
    def is_bad(self) -> bool:
        return self.limit is not None and self.after > self.limit


def compare(before: Census, during: Sequence[Census], after: Census, *, new_versions: int) -> list[Line]:
    """Every figure; each version that was deployed meanwhile may leave files in registry and cache."""
    lines = []
    for name in {**before, **after}:
        kind, old = name.partition(": ")[2], before.get(name, 0.0)
        tolerance = TOLERANCES.get(kind)
        room = _PER_VERSION.get(name, 0.0) * new_versions
        limit = None if tolerance is None and not room else (tolerance or Tolerance()).limit(old) + room
        most = max([census.get(name, 0.0) for census in during] + [old])
        lines.append(Line(name, old, most, after.get(name, 0.0), limit))
    return lines


_PER_VERSION = {"home: files": 3.0}
