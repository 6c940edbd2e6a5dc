"""A version's durations by phase, second by second, each beside what is normal of batches and load like these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.monitor.domain.blocks import Block
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import DEEPEST_FIRST, Phase, Signal
from services.monitor.domain.reference import LATENCY_LIMITS, Context, LatencyReference, Reference
from services.monitor.domain.sketch import Counts
from services.monitor.domain.streams import Slot, Stream


@dataclass(slots=True)
class DurationDetector:
    """One stream for each phase."""

    budget: Budget
    reference: Reference
    streams: dict[Phase, Stream] = field(init=False)

    def __post_init__(self) -> None:
        self.streams = {phase: Stream(LATENCY_LIMITS, threshold=self.budget.threshold) for phase in Phase}

    def judge(self, block: Block, *, may_learn: bool, is_saturated: bool) -> Iterator[Alarm | Recovery]:
        """Judge a second; of one that is saturated waits are not, since they depend on load alone."""
        rate = max(1, block.requests).bit_length() - 1
        compute = {Context(rows, rate): counts for rows, counts in block.compute_counts.items()}
        yield from self._compare(block.second, self.reference.compute, compute, may_learn=may_learn)
        if not is_saturated and block.ok_counts[0].any() and block.executions:
            mean_rows = max(1, round(block.rows / block.executions)).bit_length() - 1
            flow = {Context(mean_rows, rate): block.ok_counts}
            yield from self._compare(block.second, self.reference.flow, flow, may_learn=may_learn)
        for phase, stream in self.streams.items():
            if stream.loses_sight(block.second):
                yield Recovery(Signal.LATENCY, phase, is_lost=True)

    def _compare(
        self, second: int, reference: LatencyReference, counts: dict[Context, Counts], *, may_learn: bool
    ) -> Iterator[Alarm | Recovery]:
        known = [(row, normal) for context, row in counts.items() if (normal := reference.normal(context))]
        for index, phase in enumerate(reference.phases if known else ()):
            stream = self.streams[phase]
            stream.threshold = self.budget.threshold
            if stream.observe(Slot.of(second, [(row[index], normal[phase]) for row, normal in known], stream.limits)):
                if not stream.is_alarmed:
                    yield Recovery(Signal.LATENCY, phase)
                    continue
                yield from self._blame(phase)
                yield stream.describe(Signal.LATENCY, phase)
        if may_learn and not any(stream.is_suspicious for stream in self.streams.values()):
            for context, row in counts.items():
                reference.learn(context, row)

    def _blame(self, phase: Phase) -> Iterator[Alarm]:
        """The deepest phase that makes this one slow, and would be in alarm itself a little later."""
        for deeper in DEEPEST_FIRST[: DEEPEST_FIRST.index(phase)]:
            if self.streams[deeper].is_to_blame:
                self.streams[deeper].adopt_alarm()
                yield self.streams[deeper].describe(Signal.LATENCY, deeper)
                return

    def restart(self) -> None:
        """Forget the last seconds, and the evidence in them."""
        for stream in self.streams.values():
            stream.restart()

    def dump(self) -> dict[str, Any]:
        """The running evidence, as plain JSON values."""
        return {phase.label: stream.dump() for phase, stream in self.streams.items()}

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`."""
        for phase, stream in self.streams.items():
            if phase.label in data:
                stream.load(data[phase.label])
