"""Whether a version's requests go the way that they used to: in by a lane, once to a model process, and out again.

Two ways are odd without being errors of the server: a request that a process died with, so that another was given it,
and one that its caller ended, or spoilt, so that no model answered it. Both are learnt, as some callers do that all the
time. Spans say both of every request, not only of sampled ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from services.monitor.domain.bit_reference import BitReference
from services.monitor.domain.bits import BitStream
from services.monitor.domain.blocks import Block
from services.monitor.domain.evidence import Budget, Floats
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Severity, Signal

LABELS = ("redelivered", "ended by callers")
"""What the bits are shares of, in their order."""
LEARN_SLOTS = 60
LEARN_REQUESTS = 500
MOST_SLOTS = 8 * LEARN_SLOTS
"""After so many it is learnt from fewer requests."""
LEAST_LIMIT = 0.005
"""Shares up to this are nobody's alarm: the requests that one process had in hand when it died, say."""
_HISTORY = 120
_NOTES = (
    "processes died with them in hand, and others were given them",
    "callers left, or sent what isn't valid, and no model answered",
)


@dataclass(slots=True)
class ShapeDetector:
    """One stream of two bits. Bounded: what is learnt from, and the stream's slots."""

    budget: Budget
    stream: BitStream | None = None
    """None while it is learnt."""
    _learnt: list[tuple[float, Floats]] = field(default_factory=list)
    _requests: float = 0.0

    @property
    def learnt_slots(self) -> int:
        return len(self._learnt) if self.stream is None else LEARN_SLOTS

    @property
    def log_evalue(self) -> float:
        return 0.0 if self.stream is None else self.stream.log_evalue

    def judge(self, block: Block, *, may_learn: bool) -> Iterator[Alarm | Recovery]:
        trials = float(block.requests)
        if not trials:
            return
        shares = np.minimum(np.array([block.redelivered, block.ended_by_callers]) / trials, 1.0)
        stream = self.stream
        if stream is None:
            if may_learn:
                self._learn(trials, shares)
            return
        stream.threshold = self.budget.threshold
        if stream.observe(block.second, trials, shares):
            yield self._alarm(stream) if stream.is_alarmed else Recovery(Signal.TRACE_SHAPE, None)

    def _learn(self, trials: float, shares: Floats) -> None:
        self._requests += trials
        self._learnt.append((trials, shares))
        slots = len(self._learnt)
        # With few requests, spread and limits say how little was seen.
        if slots >= LEARN_SLOTS and (self._requests >= LEARN_REQUESTS or slots >= MOST_SLOTS):
            counts = np.array([count for count, _ in self._learnt])
            found = BitReference.fit(counts, np.stack([row for _, row in self._learnt]))
            reference = replace(found, limits=np.maximum(found.limits, LEAST_LIMIT))
            self.stream = BitStream(reference, threshold=self.budget.threshold, history=_HISTORY)
            self._learnt = []

    def _alarm(self, stream: BitStream) -> Alarm:
        bit = stream.strongest
        return stream.told(Signal.TRACE_SHAPE, bit, severity=Severity.TICKET, note=_NOTES[bit])

    def adopt_alarm(self) -> None:
        if self.stream is not None:
            self.stream.adopt_alarm()

    def restart(self) -> None:
        """Forget the last seconds, and the evidence in them."""
        if self.stream is not None:
            self.stream.restart()

    def dump(self) -> dict[str, Any]:
        """What was learnt, and the running evidence, as plain JSON values; nothing while it is being learnt."""
        return {} if self.stream is None else self.stream.dump()

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`.

        Raises:
            ValueError, KeyError, TypeError: the data are of another make.
        """
        if data:
            self.stream = BitStream.restored(data, bits=len(LABELS), threshold=self.budget.threshold, history=_HISTORY)
