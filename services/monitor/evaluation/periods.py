"""What a period of traces looked like, place by place, in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.monitor.evaluation.spans import Place, Shape, Visit

Floats = NDArray[np.float64]

MAX_TIMES = 4_096
MAX_SHAPES = 256
MAX_PLACES = 20_000
EXAMPLES = 5
OTHER = Place("(other)", "(other)", "(other)")
"""Where visits are counted once there are ``MAX_PLACES``."""


@dataclass(slots=True)
class Group:
    """The visits to one place, or the calls from one place to another.

    Of the times every ``stride``-th is kept, which is a power of two.
    """

    visits: int = 0
    timed: int = 0
    times_ns: list[int] = field(default_factory=list)
    stride: int = 1
    error_origins: int = 0
    shapes: Counter[Shape] = field(default_factory=Counter)
    peers: Counter[Place] = field(default_factory=Counter)
    lost_calls: int = 0
    """Failed visits without a child."""
    slowest: list[tuple[int, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, visit: Visit) -> None:
        self.visits += 1
        if visit.is_error_origin:
            self.error_origins += 1
            self.lost_calls += not visit.shape
            if len(self.failed) < EXAMPLES:
                self.failed.append(visit.trace_id)
        if visit.shape in self.shapes or len(self.shapes) < MAX_SHAPES:
            self.shapes[visit.shape] += 1
        if visit.peer is not None and (visit.peer in self.peers or len(self.peers) < MAX_SHAPES):
            self.peers[visit.peer] += 1

    def add_time(self, visit: Visit) -> None:
        if self.timed % self.stride == 0:
            self.times_ns.append(visit.own_ns)
            if len(self.times_ns) >= 2 * MAX_TIMES:
                self.times_ns = self.times_ns[::2]
                self.stride *= 2
        self.timed += 1
        if len(self.slowest) < EXAMPLES or visit.own_ns > self.slowest[-1][0]:
            self.slowest = sorted([*self.slowest, (visit.own_ns, visit.trace_id)], reverse=True)[:EXAMPLES]

    def merge(self, other: Group) -> None:
        """Take in another replica's visits; of the times both keep the same share, so that replicas weigh by visits."""
        self.visits += other.visits
        self.timed += other.timed
        stride = max(self.stride, other.stride)
        self.times_ns = self.times_ns[:: stride // self.stride] + other.times_ns[:: stride // other.stride]
        while len(self.times_ns) > 4 * MAX_TIMES:
            self.times_ns, stride = self.times_ns[::2], 2 * stride
        self.stride = stride
        self.error_origins += other.error_origins
        self.lost_calls += other.lost_calls
        self.shapes.update(other.shapes)
        self.peers.update(other.peers)

    def times(self) -> Floats:
        return np.asarray(self.times_ns, dtype=np.float64)

    def total_ns(self) -> float:
        """All times together, those that were not kept too."""
        return float(self.times().mean()) * self.timed if self.timed else 0.0

    @property
    def peer(self) -> Place | None:
        """The one that most visits called, if most called one."""
        if not self.peers:
            return None
        found, count = self.peers.most_common(1)[0]
        return found if sum(self.peers.values()) > 0.5 * self.visits and count else None


class Period:
    """Traces of one period."""

    def __init__(self) -> None:
        self.groups: dict[Place, Group] = {}
        self.calls: dict[tuple[Place, Place], Group] = {}
        """Own times of spans that only call, by both ends: one name such as ``HTTP GET`` may call many."""
        self.traces = 0

    def add(self, visits: list[Visit]) -> None:
        """One trace."""
        self.traces += 1
        for visit in visits:
            group = self.groups.get(visit.place)
            if group is None:
                place = visit.place if len(self.groups) < MAX_PLACES else OTHER
                group = self.groups.setdefault(place, Group())
            group.add(visit)
            if visit.peer is None:
                group.add_time(visit)
                continue
            ends = visit.place, visit.peer
            if ends in self.calls or len(self.calls) < MAX_PLACES:
                self.calls.setdefault(ends, Group()).add_time(visit)

    def by_operation(self) -> dict[tuple[str, str], Group]:
        """All replicas together."""
        merged: dict[tuple[str, str], Group] = {}
        for place, group in self.groups.items():
            merged.setdefault((place.service, place.operation), Group()).merge(group)
        return merged

    def calls_by_operation(self) -> dict[tuple[str, str, str, str], Group]:
        """All replicas of both ends together."""
        merged: dict[tuple[str, str, str, str], Group] = {}
        for (place, peer), group in self.calls.items():
            key = place.service, place.operation, peer.service, peer.operation
            merged.setdefault(key, Group()).merge(group)
        return merged
