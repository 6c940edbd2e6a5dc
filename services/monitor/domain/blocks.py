"""What spans say of requests, and what a replica did in one second."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.answers import Answers
from services.monitor.domain.outcomes import CODES, Outcome
from services.monitor.domain.phases import FLOW_PHASES, Phase, Signal
from services.monitor.domain.sketch import Counts

NS = 1_000_000_000
ABANDONED = CODES.index("CANCELLED")
"""Status of a request whose deadline passed, or whose caller left, while its batch ran: its figures count,
its outcome comes as a :class:`Rejection`."""
PLAUSIBLE_AGE_NS = 10 * NS
"""A span that says it ended longer ago than this, or in the future, is taken to have ended when it came:
a sender's clock, or its network, is off."""

STABLE = "stable"
"""The arm of a version whose spans name none."""
SHADOW = "shadow"
"""The arm of a version that gets copies of requests: nobody waits for its answers."""


def plausible_ns(end_ns: int, now_ns: int) -> int:
    """When a span ended, in Unix ns: when it says, or now where that was long ago or is still to come."""
    return end_ns if now_ns - PLAUSIBLE_AGE_NS <= end_ns <= now_ns else now_ns


class Skipped(NamedTuple):
    """Quick batches that succeeded, and of which nothing else is told: what they add up to."""

    batches: int = 0
    requests: int = 0
    rows: int = 0
    compute_ns: int = 0
    drawn: int = 0


NOTHING_SKIPPED = Skipped()


@dataclass(slots=True)  # not frozen: that takes 1 µs for each
class Batch:
    """What a batch span says: one executed batch, or several quick ones in a row.

    ``sizes`` (requests), ``rows`` and ``compute_ns`` (by compute phase) are per batch. ``wait_us`` and ``total_us`` are
    little-endian u32 per request, ``status`` u8 per request (``google.rpc.Code``; :data:`ABANDONED` for one that the
    gateway settled by itself), ``trace_ids`` 16 bytes per request. What is said of answers is empty, or there for each
    request: ``confidence``, ``entropy`` and ``norm`` f32, ``classes`` i32, ``length`` and ``nonfinite`` u32.
    ``sampled`` are numbers of requests (u32), and ``sketch`` as many rows of f32, of the kind ``inputs_kind``.
    """

    model: str
    version: str
    instance: str
    trace_id: bytes
    end_ns: int
    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    compute_ns: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    wait_us: bytes
    total_us: bytes
    status: bytes
    trace_ids: bytes
    arm: str = STABLE
    start_ns: int = 0
    """When the first of the batches began; 0 where that isn't known."""
    confidence: bytes = b""
    classes: bytes = b""
    entropy: bytes = b""
    norm: bytes = b""
    length: bytes = b""
    nonfinite: bytes = b""
    sampled: bytes = b""
    sketch: bytes = b""
    inputs_kind: str = ""
    delivery_count: int = 1
    """How often its request was given to a process; above 1 where it is one that another process died with."""
    is_extra: bool = False
    """It is told for what became of it, and not one of those that show how all of them went."""
    skipped: Skipped = NOTHING_SKIPPED
    """Of the same process, since the span before."""
    drawn: int = 0
    """Requests that a rollout sent here, by lot or by a key, and not their callers."""


@dataclass(slots=True)  # not frozen: that takes 1 µs for each
class Rejection:
    """A request that the gateway settled by itself; ``weight`` is how many such its span stands for."""

    model: str
    version: str
    trace_id: bytes
    end_ns: int
    outcome: Outcome
    weight: int
    code: int = 2
    """``google.rpc.Code``, UNKNOWN where the span doesn't say it."""
    arm: str = STABLE
    is_drawn: bool = False
    """A rollout had sent it to this version."""


@dataclass(slots=True)
class Pulse:
    """What a replica says of itself. ``running_ns`` is how long its batch runs by now, 0 for none."""

    model: str
    version: str
    instance: str
    trace_id: bytes
    end_ns: int
    is_stopping: bool
    running_ns: int
    running_requests: int


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A trace that shows a duration, or anything else: a batch's, and that of one of its requests if it is one's."""

    trace_id: bytes
    duration_ns: int = 0
    request_id: bytes = b""


@dataclass(slots=True)
class Block:
    """The figures of one version, or of one replica of it, in one second; blocks of the same second add up."""

    model: str
    version: str
    second: int
    outcomes: NDArray[np.int64]
    """Requests by :class:`Outcome`."""
    instance: str = ""
    """The replica; empty for what no replica had in its hands."""
    arm: str = STABLE
    since: int = 0
    """The second in which the first batch began; 0 where none is known to."""
    executions: int = 0
    rows: int = 0
    largest: int = 0
    """Requests of the largest batch."""
    executed: int = 0
    """Requests that batches were run for; durations and answers are known of those that were ``told``."""
    refused: int = 0
    """Requests that the gateway refused by the server's fault."""
    drawn: int = 0
    """Requests that a rollout sent to this version."""
    counts: Counts = field(default_factory=lambda: np.zeros((len(Phase), sketch.BINS), np.int64))
    """Durations by phase and bin, one per request."""
    sums_ns: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(Phase)))
    ok_counts: Counts = field(default_factory=lambda: np.zeros((len(FLOW_PHASES), sketch.BINS), np.int64))
    """Durations of queue and total, of requests that succeeded only."""
    compute_counts: dict[int, Counts] = field(default_factory=dict)
    """Durations of the compute phases, one per batch in which something succeeded, by log2 of the batch's rows."""
    codes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CODES), np.int64))
    """Requests by ``google.rpc.Code``; of those that no replica had in its hands, server errors only."""
    answers: Answers = field(default_factory=Answers)
    sketches: list[NDArray[np.float32]] = field(default_factory=list)
    """Of inputs, [requests, width] each."""
    sketched_classes: list[NDArray[np.int32]] = field(default_factory=list)
    """What these requests were answered, as many each; -1 where that was no class."""
    inputs_kind: str = ""
    """What they are: features or projections."""
    redelivered: int = 0
    """Requests that another process died with."""
    ended_by_callers: int = 0
    """Requests that no model answered, as their callers left or sent what isn't valid."""
    busy_ns: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Compute time by instance."""
    slowest: dict[Phase, Exemplar] = field(default_factory=dict)
    """The batch with the longest duration, by phase."""
    ordinary: dict[Phase, Exemplar] = field(default_factory=dict)
    """A batch with the median duration, by phase."""
    shown: dict[Signal, Exemplar] = field(default_factory=dict)
    """A request that shows most of a signal of answers."""
    failed: bytes | None = None
    """Trace of a request that failed by the server's fault."""

    @property
    def requests(self) -> int:
        return int(self.outcomes.sum())

    @property
    def told(self) -> int:
        """Requests that show how all went: where there are many batches, some are only counted."""
        return int(self.counts[Phase.TOTAL].sum())

    def add(self, other: Block) -> None:
        """Take another block of the same version and second in."""
        self.outcomes = self.outcomes + other.outcomes
        self.executions += other.executions
        self.rows += other.rows
        self.largest = max(self.largest, other.largest)
        self.executed += other.executed
        self.refused += other.refused
        self.drawn += other.drawn
        self.counts = self.counts + other.counts
        self.sums_ns = self.sums_ns + other.sums_ns
        self.ok_counts = self.ok_counts + other.ok_counts
        self.codes = self.codes + other.codes
        self.answers.add(other.answers)
        self.sketches = self.sketches + other.sketches
        self.sketched_classes = self.sketched_classes + other.sketched_classes
        self.inputs_kind = self.inputs_kind or other.inputs_kind
        self.redelivered += other.redelivered
        self.ended_by_callers += other.ended_by_callers
        for rows, counts in other.compute_counts.items():
            self.compute_counts[rows] = self.compute_counts[rows] + counts if rows in self.compute_counts else counts
        for instance, busy in other.busy_ns.items():
            self.busy_ns[instance] += busy
        for phase, exemplar in other.slowest.items():
            if phase not in self.slowest or exemplar.duration_ns > self.slowest[phase].duration_ns:
                self.slowest[phase] = exemplar
        self.ordinary = other.ordinary | self.ordinary
        self.shown = other.shown | self.shown
        self.failed = other.failed or self.failed

    def copy(self) -> Block:
        """Another that can be added to; arrays are shared, and never changed in place."""
        total = Block(self.model, self.version, self.second, np.zeros(len(Outcome), np.int64), arm=self.arm)
        total.add(self)
        return total
