"""All detectors of one version: of errors, durations by phase, the queue, answers, inputs, and its replicas.

What is judged per version is judged by seconds, once they are complete; what a replica shows beside its siblings, and
answers that are no numbers, as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from services.monitor.domain.arms import Arm
from services.monitor.domain.blocks import NS, Block, Pulse
from services.monitor.domain.content import ContentDetectors
from services.monitor.domain.durations import DurationDetector
from services.monitor.domain.errors import ErrorDetector
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.numbers import NumberDetector
from services.monitor.domain.phases import Cause, Phase, Signal
from services.monitor.domain.queueing import QueueDetector
from services.monitor.domain.reference import Reference
from services.monitor.domain.replicas import Replicas
from services.monitor.domain.shape import ShapeDetector
from services.monitor.domain.showcase import Showcase
from services.monitor.domain.streams import Stream
from services.monitor.domain.suspects import Suspects

LATENESS_S = 3
"""How long a second is kept open for spans that come late."""
SETTLING_SLOTS = 5
"""Seconds with traffic after a version's first one that nothing is learnt from: caches are cold."""
SATURATED = 0.7
"""Share of a second that instances compute from which on waiting depends on load alone, and is not judged."""
DEFAULT_LIMIT_S = 5.0
"""How long requests of a version may wait that says nothing of it."""

StreamKey = tuple[Signal, Phase | None, str]
"""Signal, phase and replica; empty for the version as a whole."""


@dataclass(slots=True)
class VersionDetectors:
    """All streams of one version. Bounded: blocks until they are judged, minutes of figures per stream."""

    budget: Budget
    reference: Reference = field(default_factory=Reference)
    limit: Callable[[], float] = lambda: DEFAULT_LIMIT_S
    """How long requests may wait, seconds."""
    arm: Arm = field(default_factory=Arm)
    durations: DurationDetector = field(init=False)
    errors: ErrorDetector = field(init=False)
    content: ContentDetectors = field(init=False)
    queue: QueueDetector = field(init=False)
    shape: ShapeDetector = field(init=False)
    replicas: Replicas = field(init=False)
    _suspects: Suspects = field(default_factory=Suspects)
    _showcase: Showcase = field(default_factory=Showcase)
    busy: float = 0.0
    """Share of the last second that was judged in which instances computed."""
    _pending: dict[int, Block] = field(default_factory=dict)
    _judged_second: int = 0
    _settled: int = 0
    _numbers: NumberDetector = field(default_factory=NumberDetector)

    def __post_init__(self) -> None:
        self.durations = DurationDetector(self.budget, self.reference)
        self.errors = ErrorDetector(self.budget, self.reference)
        self.content = ContentDetectors(self.budget)
        self.queue = QueueDetector(self.limit)
        self.shape = ShapeDetector(self.budget)
        self.replicas = Replicas(self.budget)

    def add(self, block: Block) -> None:
        """Take a block in; one that comes after its second was judged only says that its replica lives."""
        self.arm.note(block)
        if block.second <= self._judged_second:
            self.replicas.hear_of(block.instance)
            return
        self._showcase.add(block)
        self._suspects.add(block)
        self.replicas.add(block)
        self._numbers.add(block)
        pending = self._pending.get(block.second)
        if pending is None:
            self._pending[block.second] = block.copy()
        else:
            pending.add(block)

    def beat(self, pulse: Pulse) -> None:
        self.replicas.beat(pulse)

    def judge(self, now_s: float) -> Iterator[Alarm | Recovery]:
        """Judge what came, and every second that is over, in order."""
        if self._judged_second > now_s:
            self._clock_was_set_back(int(now_s))
        yield from self.arm.raised()
        for finding in self.replicas.judge():
            yield self._shown(finding)
        for finding in self._numbers.judge(now_s):
            yield self._shown(finding)
        ripe = sorted(second for second in self._pending if second + 1 + LATENESS_S <= now_s)
        for second in ripe:
            self._judged_second = second
            block = self._pending.pop(second)
            self._settled += block.executions > 0
            if self._settled:  # A version that never ran a batch isn't serving yet, and refusing is right.
                for finding in self._judge(block):
                    yield self._shown(finding)

    def _clock_was_set_back(self, second: int) -> None:
        """Forget what is in the future now: evidence of another time can't be compared. Alarms go on."""
        self._judged_second = 0
        self.arm.clock_was_set_back()
        self._pending.clear()
        self._suspects, self._showcase = Suspects(), Showcase()
        self.durations.restart()
        self.errors.restart()
        self.queue.restart()
        self.shape.restart()
        self._numbers.restart()
        self.content.clock_was_set_back(second)
        self.replicas.clock_was_set_back(second)

    def _judge(self, block: Block) -> Iterator[Alarm | Recovery]:
        is_settled = self._settled > SETTLING_SLOTS
        yield from self.errors.judge(block, may_learn=is_settled)
        self.busy = sum(block.busy_ns.values()) / max(1, len(block.busy_ns)) / NS
        yield from self.durations.judge(block, may_learn=is_settled, is_saturated=self.busy >= SATURATED)
        yield from self.queue.judge(block)
        yield from self.shape.judge(block, may_learn=is_settled)
        yield from self.content.judge(block, may_learn=is_settled)

    def _shown(self, finding: Alarm | Recovery) -> Alarm | Recovery:
        """An alarm with the replica at fault, if it is one's, and the traces that show it, and others beside them."""
        if isinstance(finding, Recovery):
            self.arm.saw(finding)
            return finding
        alarm = finding
        if not alarm.replica and alarm.cause is Cause.VERSION and len(self.replicas) > 1:
            name = self._suspects.guilty(alarm, self.content)
            if name:
                alarm = replace(alarm, replica=name, cause=Cause.REPLICA, is_versions=True)
        return self.arm.told(self._showcase.with_traces(alarm))

    def adopt_alarm(self, signal: Signal, phase: Phase | None, replica: str, *, second: int) -> None:
        """Take over an alarm of before a restart, which was told.

        Of a slow replica it isn't known who raised it: its own detector, or the version's, which was traced to it.
        """
        if signal is Signal.LATENCY and phase is not None:
            self.durations.streams[phase].adopt_alarm()
            if replica:
                self.replicas.adopt_alarm(signal, replica, second=second)
        elif signal is Signal.ERROR_RATE:
            self.errors.adopt_alarm()
        elif signal is Signal.QUEUEING:
            self.queue.is_alarmed = True
        elif signal is Signal.TRACE_SHAPE:
            self.shape.adopt_alarm()
        elif signal is Signal.NONFINITE:
            self._numbers.alarmed = replica
        elif signal in (Signal.STUCK, Signal.DEAD):
            self.replicas.adopt_alarm(signal, replica, second=second)
        else:
            self.content.adopt_alarm(signal, second=second)

    @property
    def latency(self) -> Mapping[Phase, Stream]:
        """The streams of durations."""
        return self.durations.streams

    @property
    def judged_second(self) -> int:
        """The last second with traffic that was judged; 0 before the first."""
        return self._judged_second

    @property
    def nonfinite_replica(self) -> str | None:
        """The replica whose answers are no numbers, "" for all of them; None while they are numbers."""
        return self._numbers.alarmed

    @property
    def count(self) -> int:
        """Streams that share the budget of false alarms."""
        return 2 + len(Phase) + len(self.content.watches) + len(self.replicas)

    def evidence(self) -> Iterator[tuple[StreamKey, float]]:
        """Every stream's evidence, nats; 0 from an alarm on until its figure is back."""
        yield (Signal.ERROR_RATE, None, ""), self.errors.stream.log_evalue
        for phase, stream in self.latency.items():
            yield (Signal.LATENCY, phase, ""), stream.log_evalue
        yield (Signal.TRACE_SHAPE, None, ""), self.shape.log_evalue
        for signal, log_evalue in self.content.streams():
            yield (signal, None, ""), log_evalue
        for replica, log_evalue in self.replicas.streams():
            yield (Signal.LATENCY, Phase.COMPUTE_INFER, replica), log_evalue

    def omnibus(self) -> float:
        """Logarithm of the average of all evidence: of e-detectors it is one, whatever they have to do with each other.

        What is in alarm begins anew, so an open incident makes it smaller.
        """
        values = np.array([log_evalue for _, log_evalue in self.evidence()])
        return float(values.max() + np.log(np.exp(values - values.max()).mean()))

    def dump(self) -> dict[str, Any]:
        """What was learnt, and the running evidence, as plain JSON values."""
        return {
            **self.reference.dump(),
            "content": self.content.dump(),
            "replicas": self.replicas.dump(),
            "shape": self.shape.dump(),
            "second": self._judged_second,
            "evidence": {
                "errors": self.errors.dump(),
                "latency": self.durations.dump(),
            },
        }

    @classmethod
    def load(
        cls, data: Mapping[str, Any], *, budget: Budget, limit: Callable[[], float] = lambda: DEFAULT_LIMIT_S
    ) -> VersionDetectors:
        """The reverse of :meth:`dump`.

        Raises:
            ValueError, KeyError, TypeError: the data are of another make.
        """
        detectors = cls(budget, Reference.load(data), limit)
        if "content" in data:
            detectors.content.load(data["content"])
        detectors.replicas.load(data.get("replicas", {}), second=data.get("second", 0))
        detectors.shape.load(data.get("shape", {}))
        evidence = data.get("evidence", {})
        if "errors" in evidence:
            detectors.errors.load(evidence["errors"])
        detectors.durations.load(evidence.get("latency", {}))
        return detectors
