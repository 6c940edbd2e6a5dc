"""Detectors of one version: an error-rate stream and one latency stream per phase, each fed one value per second.

Requests are no independent trials: a batch fails or is slow as a whole, and noise lasts longer than a batch. So a
second (a *slot*) gives each stream one observation, the share of its requests that failed or of its batches that took
longer than normal, and the evidence rests on that alone (``evidence.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.blocks import NS, Block, Exemplar
from services.monitor.domain.evidence import MULTIPLIERS, Floats, advance, log_evidence
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Phase, Signal
from services.monitor.domain.reference import LATENCY_LIMITS, LEVELS, Context, LatencyReference, Normal, Reference

LATENESS_S = 3
"""How long a second is kept open for spans that come late."""
SETTLING_SLOTS = 5
"""Seconds with traffic after a version's first one that nothing is learnt from: caches are cold."""
RECOVERY_SLOTS = 30
"""Seconds of traffic that must look normal before an alarm counts as over."""
HISTORY_SLOTS = 300
SATURATED = 0.7
"""Share of a second that instances compute from which on waiting depends on load alone, and is not judged."""
LOST_S = 300
"""An alarm ends when for so long there was traffic, but nothing like any that is known to compare it with."""
SUSPICION = math.log(10)
"""Evidence from which on seconds aren't learnt from."""

StreamKey = tuple[Signal, Phase | None]


@dataclass(frozen=True, slots=True)
class Slot:
    """One stream's second. All arrays by level: the share, its limit under normal conditions, and the figures
    behind it: now, and normal under the same conditions (error share, or nanoseconds).
    """

    second: int
    shares: Floats
    limits: Floats
    now: Floats
    normal: Floats


@dataclass(frozen=True, slots=True)
class Alarm:
    """A figure left its course. ``before`` and ``after`` by level, as in :class:`Slot`; ``level`` shows it most."""

    signal: Signal
    phase: Phase | None
    log_evalue: float
    change_second: int
    level: int
    before: Floats
    after: Floats
    traces: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Recovery:
    """A figure is back, or can't be compared any more."""

    signal: Signal
    phase: Phase | None
    is_lost: bool = False


class Stream:
    """Evidence on one figure. After an alarm it starts afresh, and says next that the figure is back."""

    def __init__(self, levels: int, *, threshold: float) -> None:
        """``threshold`` in nats."""
        self.is_alarmed = False
        self.log_evalue = 0.0
        self._threshold = threshold
        self._log_m = np.zeros((levels, len(MULTIPLIERS)))
        self._began = np.zeros(self._log_m.shape, np.int64)
        self._history: deque[Slot] = deque(maxlen=HISTORY_SLOTS)
        self._seen_second = 0

    @property
    def is_suspicious(self) -> bool:
        return self.is_alarmed or self.log_evalue > SUSPICION

    def adopt_alarm(self) -> None:
        """Take over an alarm of before a restart."""
        self.is_alarmed = True

    def observe(self, slot: Slot) -> bool:
        """Take a second in; True if the stream went into alarm or came out of it."""
        self._history.append(slot)
        self._seen_second = slot.second
        if self.is_alarmed:
            return self._has_recovered()
        self._began[self._log_m <= 0.0] = slot.second
        self._log_m = advance(self._log_m, slot.shares, slot.limits)
        self.log_evalue = float(log_evidence(self._log_m))
        self.is_alarmed = self.log_evalue >= self._threshold
        return self.is_alarmed

    def loses_sight(self, second: int) -> bool:
        """End an alarm whose figure has not been comparable for ``LOST_S``; True if that happened.

        Nothing is learnt during an alarm, so without this it would last for ever in traffic of a new kind.
        """
        if not self.is_alarmed:
            return False
        self._seen_second = self._seen_second or second
        if second - self._seen_second < LOST_S:
            return False
        self.is_alarmed = False
        self._restart()
        return True

    def describe(self, signal: Signal, phase: Phase | None, traces: tuple[bytes, ...]) -> Alarm:
        """The alarm just raised; starts the evidence afresh, and the wait for recovery."""
        level, component = np.unravel_index(int(self._log_m.argmax()), self._log_m.shape)
        change = int(self._began[level, component])
        since = [slot for slot in self._history if slot.second >= change]
        alarm = Alarm(
            signal,
            phase,
            log_evalue=self.log_evalue,
            change_second=change,
            level=int(level),
            before=np.mean([slot.normal for slot in since], axis=0),
            after=np.median([slot.now for slot in since], axis=0)
            if signal is Signal.LATENCY
            else np.mean([slot.now for slot in since], axis=0),
            traces=traces,
        )
        self._restart()
        return alarm

    def _has_recovered(self) -> bool:
        recent = list(self._history)[-RECOVERY_SLOTS:]
        if len(recent) < RECOVERY_SLOTS:
            return False
        shares = np.mean([slot.shares for slot in recent], axis=0)
        self.is_alarmed = bool((shares > np.mean([slot.limits for slot in recent], axis=0)).any())
        if not self.is_alarmed:
            self._restart()
        return not self.is_alarmed

    def _restart(self) -> None:
        self._log_m[:] = 0.0
        self.log_evalue = 0.0
        self._history.clear()


class _Shown(NamedTuple):
    """Traces that a block has to show."""

    slowest: Mapping[Phase, Exemplar]
    failed: bytes | None


@dataclass(slots=True)
class VersionDetectors:
    """All streams of one version. Bounded: blocks until they are judged, ``HISTORY_SLOTS`` figures per stream."""

    threshold: float
    reference: Reference = field(default_factory=Reference)
    late_blocks: int = 0
    streams: dict[StreamKey, Stream] = field(init=False)
    _pending: dict[int, Block] = field(default_factory=dict)
    _judged_second: int = 0
    _settled: int = 0
    _recent: deque[_Shown] = field(default_factory=lambda: deque(maxlen=10))

    def __post_init__(self) -> None:
        self.streams = {(Signal.ERROR_RATE, None): Stream(1, threshold=self.threshold)}
        for phase in Phase:
            self.streams[Signal.LATENCY, phase] = Stream(len(LEVELS), threshold=self.threshold)

    def add(self, block: Block) -> None:
        """Take a block in; one that comes after its second was judged is only counted."""
        if block.second <= self._judged_second:
            self.late_blocks += 1
        elif (pending := self._pending.get(block.second)) is not None:
            pending.add(block)
        else:
            self._pending[block.second] = block

    def judge(self, now_s: float) -> Iterator[Alarm | Recovery]:
        """Judge every second that is over, in order."""
        if self._judged_second > now_s:  # The clock was set back.
            self._judged_second = 0
        ripe = sorted(second for second in self._pending if second + 1 + LATENESS_S <= now_s)
        for second in ripe:
            self._judged_second = second
            block = self._pending.pop(second)
            self._settled += block.executions > 0
            if self._settled:  # A version that never ran a batch isn't serving yet, and refusing is right.
                self._recent.append(_Shown(block.slowest, block.failed))
                yield from self._judge_errors(block)
                yield from self._judge_latency(block)
                yield from self._lose_sight(second)

    def _lose_sight(self, second: int) -> Iterator[Recovery]:
        for (signal, phase), stream in self.streams.items():
            if stream.loses_sight(second):
                yield Recovery(signal, phase, is_lost=True)

    def _judge_errors(self, block: Block) -> Iterator[Alarm | Recovery]:
        failed = int(block.outcomes[Outcome.SERVER_ERROR])
        counted = failed + int(block.outcomes[Outcome.OK])
        if counted == 0:
            return
        share, reference = failed / counted, self.reference.errors
        stream = self.streams[Signal.ERROR_RATE, None]
        values = (np.array([value]) for value in (share, reference.limit, share, reference.rate))
        yield from self._observe(Signal.ERROR_RATE, None, Slot(block.second, *values))
        if self._settled > SETTLING_SLOTS and not stream.is_suspicious:
            reference.learn(share, max(1, block.executions))

    def _judge_latency(self, block: Block) -> Iterator[Alarm | Recovery]:
        rate = max(1, block.requests).bit_length() - 1
        compute = {Context(rows, rate): counts for rows, counts in block.compute_counts.items()}
        yield from self._compare(block.second, self.reference.compute, compute)
        busy = sum(block.busy_ns.values()) / max(1, len(block.busy_ns)) / NS
        if busy < SATURATED and block.ok_counts[0].any() and block.executions:
            mean_rows = max(1, round(block.rows / block.executions)).bit_length() - 1
            flow = {Context(mean_rows, rate): block.ok_counts}
            yield from self._compare(block.second, self.reference.flow, flow)

    def _compare(
        self, second: int, reference: LatencyReference, counts: dict[Context, sketch.Counts]
    ) -> Iterator[Alarm | Recovery]:
        known = [(row, normal) for context, row in counts.items() if (normal := reference.normal(context))]
        for index, phase in enumerate(reference.phases if known else ()):
            slot = _slot(second, [(row[index], normal[phase]) for row, normal in known])
            yield from self._observe(Signal.LATENCY, phase, slot)
        if self._settled > SETTLING_SLOTS and not self._is_latency_suspicious():
            for context, row in counts.items():
                reference.learn(context, row)

    def _is_latency_suspicious(self) -> bool:
        return any(stream.is_suspicious for (signal, _), stream in self.streams.items() if signal is Signal.LATENCY)

    def _observe(self, signal: Signal, phase: Phase | None, slot: Slot) -> Iterator[Alarm | Recovery]:
        stream = self.streams[signal, phase]
        if stream.observe(slot):
            traces = self._traces(phase)
            yield stream.describe(signal, phase, traces) if stream.is_alarmed else Recovery(signal, phase)

    def _traces(self, phase: Phase | None) -> tuple[bytes, ...]:
        """Traces of the last seconds that show the figure, the worst first; for errors, the latest first."""
        if phase is None:
            return tuple(one.failed for one in reversed(self._recent) if one.failed)
        slowest = [one.slowest[phase] for one in self._recent if phase in one.slowest]
        return tuple(one.trace_id for one in sorted(slowest, key=lambda one: -one.duration_ns))


def _slot(second: int, parts: list[tuple[sketch.Counts, Normal]]) -> Slot:
    """One phase's second, over the contexts in it, weighted by their batches or requests."""
    weights = np.array([row.sum() for row, _ in parts], np.float64)
    mean = weights / weights.sum()
    shares = [[sketch.share_above(row, edge) for edge in normal.edges] for row, normal in parts]
    now = [[sketch.quantile(row, level) for level in LEVELS] for row, _ in parts]
    return Slot(
        second,
        shares=mean @ np.array(shares),
        limits=LATENCY_LIMITS,
        now=mean @ np.array(now),
        normal=mean @ np.array([normal.quantiles_ns for _, normal in parts]),
    )
