"""What is known of one replica."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.monitor.domain.bits import BitStream
from services.monitor.domain.blocks import Block
from services.monitor.domain.evidence import Floats
from services.monitor.domain.findings import Recovery
from services.monitor.domain.phases import COMPUTE_PHASES, Severity, Signal
from services.monitor.domain.strata import Strata, less, sum_of

MAX_REPLICAS = 64
"""Of a version, that are watched one by one."""
SETTLING_SLOTS = 5
"""Seconds with batches after a replica's first one that nothing is learnt from: caches are cold."""
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
    executions: dict[int, int] = field(default_factory=dict)
    """Its batches in each of these seconds."""
    pending: dict[int, Strata] = field(default_factory=dict)
    """Those that weren't judged yet."""
    stream: BitStream | None = None
    learnt: list[tuple[float, Floats]] = field(default_factory=list)
    told: Severity | None = None
    """How it was told that the replica is slow; None while it isn't."""
    present: set[int] = field(default_factory=set)
    """Of the last ``WINDOW_S`` seconds, those that spans speak of."""
    seen: int = 0
    absences: int = 0
    """Seconds that it was there, and that it was silent in between, while its siblings worked."""
    longest_silence: int = 0
    """The longest of these silences, seconds."""
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
        self.executions[block.second] = self.executions.get(block.second, 0) + block.executions
        self.last_second = max(self.last_second, block.second)
        self.was_there(block.since, block.second)

    def was_there(self, begin: int, end: int) -> None:
        """It had a batch in hand from one second to another, of which the last ``WINDOW_S`` count."""
        self.present.update(range(max(begin, end - WINDOW_S), end + 1))
        if self.absent_since in self.present:  # its spans were late, not it
            self.absent_since = 0

    def since(self, second: int) -> Strata:
        """Its compute times from a second on, as far back as they are kept."""
        return sum_of(strata for at, strata in self.recent.items() if at >= second)

    def forget(self, before: int) -> None:
        for second in [second for second in self.recent if second < before]:
            del self.recent[second], self.executions[second]
        self.present = {second for second in self.present if second >= before}

    def clock_was_set_back(self, second: int) -> None:
        """Forget what is in the future now."""
        self.recent, self.executions, self.pending, self.present = {}, {}, {}, set()
        self.last_second, self.absent_since = min(self.last_second, second), 0
        if self.stream is not None:
            self.stream.restart()

    def back(self) -> Iterator[Recovery]:
        """It does something: it is neither stuck nor gone."""
        if self.is_stuck:
            yield Recovery(Signal.STUCK, None, replica=self.instance)
        self.is_stopping = self.is_stuck = False
        yield from self.alive()

    def alive(self) -> Iterator[Recovery]:
        """It isn't gone. A silence that was told was a fault, and not what is usual of it."""
        if self.is_dead:
            yield Recovery(Signal.DEAD, None, replica=self.instance)
            self.is_dead, self.absent_since = False, 0

    def recovered(self, *, is_lost: bool = False) -> Iterator[Recovery]:
        """It isn't slow any more, or can't be compared."""
        if self.told is not None:
            yield from (Recovery(Signal.LATENCY, phase, is_lost, self.instance) for phase in COMPUTE_PHASES)
        self.told = None

    def gone(self) -> Iterator[Recovery]:
        """All of its alarms end with it."""
        yield from self.recovered(is_lost=True)
        for signal, was in ((Signal.STUCK, self.is_stuck), (Signal.DEAD, self.is_dead)):
            if was:
                yield Recovery(signal, None, is_lost=True, replica=self.instance)
        self.is_stuck = self.is_dead = False


class Siblings:
    """What replicas did of late, all but one; what they did together is summed once."""

    def __init__(self, replicas: Iterable[Replica]) -> None:
        self._replicas = list(replicas)
        self._together: dict[int, Strata] = {}

    def of(self, replica: Replica, *, since: int) -> Strata:
        """Compute times of all others from a second on, as far back as they are kept."""
        if since not in self._together:
            self._together[since] = sum_of(one.since(since) for one in self._replicas)
        return less(self._together[since], replica.since(since))
