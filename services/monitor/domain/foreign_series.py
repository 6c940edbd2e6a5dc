"""Figures and detectors of one series of calls: what happened each second, and whether that is as it was before."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.detectors import LATENESS_S, SETTLING_SLOTS
from services.monitor.domain.figures import PANE_S, PANES
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Phase, Signal
from services.monitor.domain.reference import (
    GREATEST_ERROR_LIMIT,
    LATENCY_LIMITS,
    LEVELS,
    Context,
    ErrorReference,
    LatencyReference,
    Normal,
)
from services.monitor.domain.sketch import Counts
from services.monitor.domain.streams import HISTORY_SLOTS, Slot, Stream

_EDGES: list[float] = sketch.EDGES.tolist()
_SHOWN_SECONDS = 10
MAX_SHOWN = 5


@dataclass(slots=True)
class Tally:
    """Calls by outcome, and durations by bin (only bins that something is in)."""

    outcomes: list[int] = field(default_factory=lambda: [0] * len(Outcome))
    bins: dict[int, int] = field(default_factory=dict)
    sum_ns: int = 0

    def add(self, duration_ns: int, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
        self.sum_ns += duration_ns
        where = bin_of(duration_ns)
        self.bins[where] = self.bins.get(where, 0) + 1

    def merge(self, other: Tally) -> None:
        self.outcomes = [mine + theirs for mine, theirs in zip(self.outcomes, other.outcomes, strict=True)]
        self.sum_ns += other.sum_ns
        for where, number in other.bins.items():
            self.bins[where] = self.bins.get(where, 0) + number

    @property
    def calls(self) -> int:
        return sum(self.outcomes)

    @property
    def counts(self) -> Counts:
        counts = np.zeros(sketch.BINS, np.int64)
        # A copy, since another thread may read while calls come in.
        for where, number in self.bins.copy().items():
            counts[where] = number
        return counts


@dataclass(slots=True)
class _Second:
    """What is not judged yet. ``ok``: durations of calls that succeeded."""

    outcomes: list[int] = field(default_factory=lambda: [0] * len(Outcome))
    ok: dict[int, int] = field(default_factory=dict)
    slowest_ns: int = -1
    slowest: bytes = b""
    failed: bytes = b""


class ForeignSeries:
    """One series. Bounded: a tally for each pane of ten minutes, and seconds until they are judged."""

    def __init__(self, *, threshold: float) -> None:
        self.totals = Tally()
        self.last_second = 0
        self.streams = {
            Signal.ERROR_RATE: Stream(np.array([GREATEST_ERROR_LIMIT]), threshold=threshold),
            Signal.LATENCY: Stream(LATENCY_LIMITS, threshold=threshold),
        }
        self._errors = ErrorReference()
        self._latency = LatencyReference((Phase.TOTAL,))
        self._panes: dict[int, Tally] = {}
        self._pending: dict[int, _Second] = {}
        self._judged_second = 0
        self._settled = 0
        self._shares: deque[tuple[int, float]] = deque(maxlen=HISTORY_SLOTS)
        self._recent: deque[_Second] = deque(maxlen=_SHOWN_SECONDS)

    def add(self, second: int, duration_ns: int, outcome: Outcome, trace_id: bytes) -> None:
        """Count a call; one that comes after its second was judged is only counted."""
        self.last_second = second
        self.totals.add(duration_ns, outcome)
        self._pane(second // PANE_S).add(duration_ns, outcome)
        if second <= self._judged_second:
            return
        pending = self._pending.get(second)
        if pending is None:
            pending = self._pending[second] = _Second()
        pending.outcomes[outcome] += 1
        if outcome is Outcome.OK:
            where = bin_of(duration_ns)
            pending.ok[where] = pending.ok.get(where, 0) + 1
            if duration_ns > pending.slowest_ns:
                pending.slowest_ns, pending.slowest = duration_ns, trace_id
        elif outcome is Outcome.SERVER_ERROR:
            pending.failed = trace_id

    def _pane(self, number: int) -> Tally:
        pane = self._panes.get(number)
        if pane is None:
            for other in [one for one in self._panes if not number - PANES <= one <= number + 2]:
                del self._panes[other]
            pane = self._panes[number] = Tally()
        return pane

    def over(self, *, first_pane: int) -> Tally:
        """The sum of the panes from ``first_pane`` on."""
        total = Tally()
        for number, pane in self._panes.items():
            if number >= first_pane:
                total.merge(pane)
        return total

    def slow_ns(self) -> float | None:
        """What is slower than normal under any load that is known; None while nothing is."""
        known = [normal[Phase.TOTAL].quantiles_ns[-1] for normal in self._latency.known.values()]
        return float(max(known)) if known else None

    def judge(self, now_s: float) -> Iterator[Alarm | Recovery]:
        """Judge every second that is over, in order."""
        if self._judged_second > now_s:  # The clock was set back.
            self._judged_second = 0
        for second in sorted(one for one in self._pending if one + 1 + LATENESS_S <= now_s):
            self._judged_second = second
            pending = self._pending.pop(second)
            self._settled += 1
            self._recent.append(pending)
            yield from self._judge_errors(second, pending)
            yield from self._judge_latency(second, pending)
            for signal, stream in self.streams.items():
                if stream.loses_sight(second):
                    yield Recovery(signal, _phase(signal), is_lost=True)

    def _judge_errors(self, second: int, pending: _Second) -> Iterator[Alarm | Recovery]:
        failed = pending.outcomes[Outcome.SERVER_ERROR]
        counted = failed + pending.outcomes[Outcome.OK]
        if counted == 0:
            return
        share = failed / counted
        self._shares.append((second, share))
        now, limit = np.array([share]), np.array([self._errors.limit])
        yield from self._observe(Signal.ERROR_RATE, Slot(second, shares=now, limits=limit, now=now, normal=limit))
        if self._settled > SETTLING_SLOTS and not self.streams[Signal.ERROR_RATE].is_suspicious:
            self._errors.learn(share, counted)

    def _judge_latency(self, second: int, pending: _Second) -> Iterator[Alarm | Recovery]:
        if not pending.ok:
            return
        counts = np.zeros(sketch.BINS, np.int64)
        counts[list(pending.ok)] = list(pending.ok.values())
        context = Context(0, int(counts.sum()).bit_length() - 1)
        if (normal := self._latency.normal(context)) is not None:
            total = normal[Phase.TOTAL]
            slot = Slot(
                second,
                shares=np.array([sketch.share_above(counts, edge) for edge in total.edges]),
                limits=np.minimum(self.streams[Signal.LATENCY].limits, total.limits),
                now=np.array([sketch.quantile(counts, level) for level in LEVELS]),
                normal=total.quantiles_ns,
            )
            yield from self._observe(Signal.LATENCY, slot)
        if self._settled > SETTLING_SLOTS and not self.streams[Signal.LATENCY].is_suspicious:
            self._latency.learn(context, counts[None])

    def _observe(self, signal: Signal, slot: Slot) -> Iterator[Alarm | Recovery]:
        stream, phase = self.streams[signal], _phase(signal)
        if stream.observe(slot):
            yield self._alarm(signal) if stream.is_alarmed else Recovery(signal, phase)

    def _alarm(self, signal: Signal) -> Alarm:
        found = self.streams[signal].describe(signal, Phase.TOTAL)
        alarm = replace(found, phase=_phase(signal), traces=self._traces(signal))
        if signal is Signal.LATENCY:
            return alarm
        # Of shares, a median would say nothing.
        since = [share for second, share in self._shares if second >= alarm.change_second]
        return replace(alarm, after=np.array([np.mean(since)]), interval=None)

    def _traces(self, signal: Signal) -> tuple[bytes, ...]:
        """Traces of the last seconds that show it: failed ones, the latest first, or the slowest."""
        if signal is Signal.ERROR_RATE:
            found = [one.failed for one in reversed(self._recent) if one.failed]
        else:
            by_time = sorted((one for one in self._recent if one.slowest), key=lambda one: -one.slowest_ns)
            found = [one.slowest for one in by_time]
        return tuple(found[:MAX_SHOWN])

    def dump(self) -> dict[str, Any]:
        """What has been learnt, as plain JSON values."""
        return {
            "errors": self._errors.dump(),
            "latency": [[context.rate, normal[Phase.TOTAL].dump()] for context, normal in self._latency.known.items()],
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`; what is known needs no settling.

        Raises:
            LookupError, TypeError, ValueError: the data are of another make.
        """
        self._errors = ErrorReference(*data["errors"])
        for rate, normal in data["latency"]:
            self._latency.know(Context(0, rate), [Normal.load(Phase.TOTAL, normal)])
        self._settled = SETTLING_SLOTS


def bin_of(duration_ns: int) -> int:
    """As ``sketch.bin_of``, without an array."""
    return min(bisect_left(_EDGES, duration_ns), sketch.BINS - 1)


def _phase(signal: Signal) -> Phase | None:
    return Phase.TOTAL if signal is Signal.LATENCY else None
