"""What is known of one replica."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.monitor.domain.bits import BitStream
from services.monitor.domain.blocks import Block
from services.monitor.domain.evidence import Floats
from services.monitor.domain.strata import Strata, sum_of

WINDOW_S = 8
"""Seconds of which durations are kept to compare others with."""


@dataclass(slots=True)
class Replica:
    """One replica: what it did of late, and the evidence on it."""

    instance: str
    last_second: int = 0
    slots: int = 0
    recent: dict[int, Strata] = field(default_factory=dict)
    """Compute times of the last ``WINDOW_S`` seconds by log2 of rows."""
    pending: dict[int, Strata] = field(default_factory=dict)
    """Those that weren't judged yet."""
    stream: BitStream | None = None
    learnt: list[tuple[float, Floats]] = field(default_factory=list)
    present: set[int] = field(default_factory=set)
    """Of the last ``WINDOW_S`` seconds, those that spans speak of."""
    seen: int = 0
    absences: int = 0
    usual: float = 0.0
    """Batches a second of its siblings, on average, while it was there."""
    absent_since: int = 0
    waited: int = 0
    """Times that it was judged without siblings' spans of the same seconds."""
    is_heard: bool = False
    """Late spans of it came."""
    is_stopping: bool = False
    is_stuck: bool = False
    is_dead: bool = False

    def add(self, block: Block) -> None:
        for kept in (self.recent, self.pending):
            strata = kept.setdefault(block.second, {})
            for rows, counts in block.compute_counts.items():
                strata[rows] = strata[rows] + counts if rows in strata else counts
        self.last_second = max(self.last_second, block.second)
        self.present.update(range(max(block.since, block.second - WINDOW_S), block.second + 1))
        if self.absent_since in self.present:  # its spans were late, not it
            self.absent_since = 0

    def forget(self, before: int) -> None:
        for second in [second for second in self.recent if second < before]:
            del self.recent[second]
        self.present = {second for second in self.present if second >= before}


def sum_of_replicas(replicas: Iterable[Replica], *, since: int) -> Strata:
    return sum_of(strata for one in replicas for second, strata in one.recent.items() if second >= since)
