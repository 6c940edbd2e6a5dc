"""What a version did in one second, folded from its batches and from requests that reached none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.outcomes import CODES, OUTCOME_OF_CODE, Outcome
from services.monitor.domain.phases import COMPUTE_PHASES, FLOW_PHASES, Phase
from services.monitor.domain.sketch import Counts

NS = 1_000_000_000
ABANDONED = CODES.index("CANCELLED")
"""Status of a request whose deadline passed, or whose caller left, while its batch ran: its figures count,
its outcome comes as a :class:`Rejection`."""
PLAUSIBLE_AGE_NS = 10 * NS
"""A span that says it ended longer ago than this, or in the future, is taken to have ended when it came:
a sender's clock, or its network, is off."""


@dataclass(slots=True)  # not frozen: that takes 1 µs for each
class Batch:
    """What a batch span says: one executed batch, or several quick ones in a row.

    ``sizes`` (requests), ``rows`` and ``compute_ns`` (by compute phase) are per batch. ``wait_us`` and ``total_us`` are
    little-endian u32 per request, ``status`` u8 per request (``google.rpc.Code``; :data:`ABANDONED` for one that the
    gateway settled by itself), ``trace_ids`` 16 bytes per request.
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


@dataclass(slots=True)  # not frozen: that takes 1 µs for each
class Rejection:
    """A request that the gateway settled by itself; ``weight`` is how many such its span stands for."""

    model: str
    version: str
    trace_id: bytes
    end_ns: int
    outcome: Outcome
    weight: int


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A trace that shows a duration."""

    trace_id: bytes
    duration_ns: int


@dataclass(slots=True)
class Block:
    """The figures of one version in one second; blocks of the same second add up."""

    model: str
    version: str
    second: int
    outcomes: NDArray[np.int64]
    """Requests by :class:`Outcome`."""
    executions: int = 0
    rows: int = 0
    counts: Counts = field(default_factory=lambda: np.zeros((len(Phase), sketch.BINS), np.int64))
    """Durations by phase and bin, one per request."""
    sums_ns: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(Phase)))
    ok_counts: Counts = field(default_factory=lambda: np.zeros((len(FLOW_PHASES), sketch.BINS), np.int64))
    """Durations of queue and total, of requests that succeeded only."""
    compute_counts: dict[int, Counts] = field(default_factory=dict)
    """Durations of the compute phases, one per batch in which something succeeded, by log2 of the batch's rows."""
    busy_ns: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Compute time by instance."""
    slowest: dict[Phase, Exemplar] = field(default_factory=dict)
    """The batch with the longest duration, by phase."""
    failed: bytes | None = None
    """Trace of a request that failed by the server's fault."""

    @property
    def requests(self) -> int:
        return int(self.outcomes.sum())

    def add(self, other: Block) -> None:
        """Take another block of the same version and second in."""
        self.outcomes = self.outcomes + other.outcomes
        self.executions += other.executions
        self.rows += other.rows
        self.counts = self.counts + other.counts
        self.sums_ns = self.sums_ns + other.sums_ns
        self.ok_counts = self.ok_counts + other.ok_counts
        for rows, counts in other.compute_counts.items():
            self.compute_counts[rows] = self.compute_counts[rows] + counts if rows in self.compute_counts else counts
        for instance, busy in other.busy_ns.items():
            self.busy_ns[instance] += busy
        for phase, exemplar in other.slowest.items():
            if phase not in self.slowest or exemplar.duration_ns > self.slowest[phase].duration_ns:
                self.slowest[phase] = exemplar
        self.failed = other.failed or self.failed


def gather(batches: Iterable[Batch], rejections: Iterable[Rejection], *, now_ns: int) -> list[Block]:
    """Fold what came in into blocks, at most two for each version and second."""
    groups: dict[tuple[str, str, int], list[Batch]] = defaultdict(list)
    for batch in batches:
        groups[batch.model, batch.version, _second(batch.end_ns, now_ns)].append(batch)
    blocks = [_executed(*key, group) for key, group in groups.items()]
    rejected: dict[tuple[str, str, int], Block] = {}
    for rejection in rejections:
        key = rejection.model, rejection.version, _second(rejection.end_ns, now_ns)
        block = rejected.get(key) or rejected.setdefault(key, Block(*key, outcomes=np.zeros(len(Outcome), np.int64)))
        block.outcomes[rejection.outcome] += rejection.weight
        if rejection.outcome is Outcome.SERVER_ERROR:
            block.failed = rejection.trace_id
    return [*blocks, *rejected.values()]


def _second(end_ns: int, now_ns: int) -> int:
    return (end_ns if now_ns - PLAUSIBLE_AGE_NS <= end_ns <= now_ns else now_ns) // NS


def _executed(model: str, version: str, second: int, batches: list[Batch]) -> Block:
    sizes = np.array([size for batch in batches for size in batch.sizes], np.int64)
    rows = [size for batch in batches for size in batch.rows]
    # Of each executed batch: the span that speaks for it, and its first request.
    spans = np.repeat(np.arange(len(batches)), [len(batch.sizes) for batch in batches])
    starts = np.cumsum(sizes) - sizes
    status = np.frombuffer(b"".join([batch.status for batch in batches]), np.uint8)
    outcome, is_abandoned = OUTCOME_OF_CODE[status], status == ABANDONED
    flow_ns = np.stack([_nanoseconds([b.wait_us for b in batches]), _nanoseconds([b.total_us for b in batches])])
    compute_ns = np.array([[ns for batch in batches for ns in batch.compute_ns[row]] for row in range(3)], np.int64)
    flow_bins, compute_bins = sketch.bins_of(flow_ns), sketch.bins_of(compute_ns)
    is_ok = (outcome == Outcome.OK) | is_abandoned

    outcomes = np.bincount(outcome[~is_abandoned], minlength=len(Outcome)).astype(np.int64)
    block = Block(model, version, second, outcomes=outcomes)
    block.executions, block.rows = len(sizes), sum(rows)
    for row, phase in enumerate(FLOW_PHASES):
        block.counts[phase] = sketch.count(flow_bins[row])
        block.sums_ns[phase] = flow_ns[row].sum(dtype=np.float64)
        block.ok_counts[row] = sketch.count(flow_bins[row][is_ok])
        slowest = int(flow_ns[row].argmax())
        owner = batches[spans[np.searchsorted(starts, slowest, side="right") - 1]]
        block.slowest[phase] = Exemplar(owner.trace_id, int(flow_ns[row, slowest]))
    for row, phase in enumerate(COMPUTE_PHASES):
        block.counts[phase] = sketch.count(compute_bins[row], sizes)
        block.sums_ns[phase] = float((compute_ns[row] * sizes.astype(np.float64)).sum())
        slowest = int(compute_ns[row].argmax())
        block.slowest[phase] = Exemplar(batches[spans[slowest]].trace_id, int(compute_ns[row, slowest]))
    block.compute_counts = _by_rows(rows, compute_bins, np.add.reduceat(is_ok.astype(np.int64), starts) > 0)
    for batch in batches:
        block.busy_ns[batch.instance] += sum(map(sum, batch.compute_ns))
    block.failed = _failed(batches, outcome)
    return block


def _nanoseconds(parts: list[bytes]) -> NDArray[np.int64]:
    return np.frombuffer(b"".join(parts), "<u4").astype(np.int64) * 1_000


def _by_rows(rows: list[int], bins: NDArray[np.intp], is_ok: NDArray[np.bool_]) -> dict[int, Counts]:
    strata = np.array([size.bit_length() - 1 for size in rows], np.int64)
    return {
        int(stratum): np.stack([sketch.count(row[(strata == stratum) & is_ok]) for row in bins])
        for stratum in np.unique(strata[is_ok])
    }


def _failed(batches: list[Batch], outcome: NDArray[np.uint8]) -> bytes | None:
    """The trace of the first request that failed by the server's fault: such requests' own spans are always kept."""
    at = int((outcome == Outcome.SERVER_ERROR).argmax())
    if outcome[at] != Outcome.SERVER_ERROR:
        return None
    return b"".join([batch.trace_ids for batch in batches])[16 * at : 16 * (at + 1)]
