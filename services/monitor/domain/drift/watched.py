"""One watched figure: what is normal of it, what it is now, and how much evidence there is that it has moved."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from services.monitor.domain.evidence import Floats
from services.monitor.domain.phases import Phase, Signal

WINDOW_S = 60
"""How far back "now" reaches at most."""

SECONDS, BYTES, NATS, ONE = "s", "By", "{nat}", "1"
"""Units, as UCUM has them; ``ONE`` is that of shares, and of what has none."""


class State(StrEnum):
    """Where a figure stands."""

    LEARNING = "learning"
    WATCHING = "watching"
    ALARMED = "alarmed"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How values lie, normally and now: shares by bin, and the ends of all bins but the last."""

    edges: Floats
    normal: Floats
    now: Floats | None

    @property
    def distance(self) -> float:
        """Total variation distance of now from normal; 0 where nothing came."""
        return 0.0 if self.now is None else float(np.abs(self.now - self.normal).sum() / 2)


@dataclass(frozen=True, slots=True)
class Part:
    """One quantile, class, feature or kind. ``log_evalue`` is what it adds to the e-value of the figure."""

    label: str
    normal: float
    now: float | None
    log_evalue: float
    histogram: Histogram | None = None


@dataclass(frozen=True, slots=True)
class Learnt:
    """Seconds with traffic that were learnt from, and that it takes."""

    seconds: int
    needed: int

    @property
    def is_done(self) -> bool:
        return self.seconds >= self.needed


@dataclass(frozen=True, slots=True)
class Watched:
    """One figure of a version, or of one of its replicas.

    ``normal`` and ``now`` are of what ``label`` says, and None where they aren't known; ``count`` is what now rests on.
    ``needed`` is the evidence, in nats, that is an alarm; 0 for what is told by a rule.
    """

    signal: Signal
    phase: Phase | None
    state: State
    learnt: Learnt
    replica: str = ""
    reason: str = ""
    log_evalue: float = 0.0
    needed: float = 0.0
    unit: str = ONE
    label: str = ""
    normal: float | None = None
    now: float | None = None
    count: int = 0
    parts: tuple[Part, ...] = field(default=())
    histogram: Histogram | None = None

    @property
    def urgency(self) -> tuple[bool, float]:
        """What is greater is to be looked at first."""
        return self.state is State.ALARMED, self.log_evalue / self.needed if self.needed else 0.0


def state_of(*, is_alarmed: bool, learnt: Learnt, count: int) -> State:
    """Where a figure stands of which ``count`` observations came lately."""
    if is_alarmed:
        return State.ALARMED
    if not learnt.is_done:
        return State.LEARNING
    return State.WATCHING if count else State.BLIND


def most_moved(parts: tuple[Part, ...], *, is_alarmed: bool) -> Part | None:
    """The part that says most: by its evidence, or in an alarm, which starts that afresh, by how far it is off."""
    if not is_alarmed:
        return max(parts, key=lambda part: part.log_evalue, default=None)
    return max((part for part in parts if part.now is not None), key=_offset, default=None)


def _offset(part: Part) -> float:
    """How far a part is off, to compare with others of its figure."""
    if part.histogram is not None:
        return part.histogram.distance
    return 0.0 if part.now is None else abs(part.now - part.normal) / math.sqrt(max(abs(part.normal), 1e-3))
