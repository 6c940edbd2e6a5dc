"""Whether a version's queue runs away: requests come faster than they are served, and waits grow until limits break.

That is no matter of chance, so it is told by a rule: all who serve are busy, waits grow second after second, and at
this rate a request's wait passes its limit soon. With first come, first served, waits grow by 1 - served / arrived
(Little), so how many come is known from how many are served and how fast waits grow. What has changed against the time
before says why: more come, fewer serve, or each serves fewer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from services.monitor.domain.blocks import NS, Block
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Cause, Phase, Severity, Signal

GROWING_S = 3
"""Seconds in a row that waits must grow."""
BUSY = 0.9
SOON_S = 10.0
"""A breach within this time is an alarm."""
LEAST_WAIT, LEAST_GROWTH = 0.3, 0.05
"""What requests must wait already, and what must have been added, as shares of the limit: callers who wait for their
answers before they ask again fill a queue only so far."""
USUAL_S = 120
LEAST_USUAL = 10
RECOVERY_S = 10
CHANGED = 1.25


class Flow(NamedTuple):
    """A second of a version's traffic. ``wait_s`` is the mean, ``service_s`` of a request, ``consumers`` took part."""

    second: int
    wait_s: float
    served: int
    service_s: float
    busy: float
    consumers: int


@dataclass(slots=True)
class QueueDetector:
    """Watches one version's queue. Bounded: two minutes of figures."""

    limit: Callable[[], float]
    """How long requests may wait, seconds; it may change at any time."""
    is_alarmed: bool = False
    _flows: deque[Flow] = field(default_factory=lambda: deque(maxlen=USUAL_S))
    _calm: int = 0

    @property
    def limit_s(self) -> float:
        return self.limit()

    def judge(self, block: Block) -> Iterator[Alarm | Recovery]:
        if not block.told:
            return
        served = block.executed
        busy_ns = sum(block.busy_ns.values())
        consumers = len(block.busy_ns)
        wait_s = float(block.sums_ns[Phase.QUEUE]) / block.told / NS
        self._flows.append(
            Flow(block.second, wait_s, served, busy_ns / served / NS, busy_ns / NS / consumers, consumers)
        )
        if self.is_alarmed:
            self._calm = self._calm + 1 if wait_s < self.limit_s / 2 else 0
            if self._calm >= RECOVERY_S:
                self.is_alarmed, self._calm = False, 0
                yield Recovery(Signal.QUEUEING, Phase.QUEUE)
        elif (slope := self._growth()) is not None:
            self.is_alarmed = True
            yield self._alarm(slope)

    def restart(self) -> None:
        """Forget the last seconds; an alarm goes on."""
        self._flows.clear()
        self._calm = 0

    def _growth(self) -> float | None:
        """How fast waits grow, in seconds a second, if it is an alarm."""
        flows = list(self._flows)[-GROWING_S - 1 :]
        if len(flows) <= GROWING_S or flows[-1].second - flows[0].second > 2 * GROWING_S:
            return None
        waits = np.array([flow.wait_s for flow in flows])
        grown = waits[-1] - waits[0]
        if (np.diff(waits) <= 0).any() or np.mean([flow.busy for flow in flows[1:]]) < BUSY:
            return None
        slope = float((waits[-1] - waits[-3]) / (flows[-1].second - flows[-3].second))
        is_soon = waits[-1] + slope * SOON_S >= self.limit_s
        return (
            slope
            if is_soon and grown >= LEAST_GROWTH * self.limit_s and waits[-1] >= LEAST_WAIT * self.limit_s
            else None
        )

    def _alarm(self, slope: float) -> Alarm:
        flows = list(self._flows)
        usual, now = flows[: -GROWING_S - 1][-60:], flows[-GROWING_S:]
        wait_s = now[-1].wait_s
        served = float(np.mean([flow.served for flow in now]))
        arrived = served / max(0.05, 1 - min(slope, 0.95))
        in_s = max(0.0, (self.limit_s - wait_s) / slope)
        note, cause = f"{arrived:.0f} requests come a second and {served:.0f} are served", Cause.ARRIVALS
        if len(usual) >= LEAST_USUAL:
            before = float(np.median([flow.served for flow in usual]))
            service = float(np.median([flow.service_s for flow in now]) / np.median([flow.service_s for flow in usual]))
            consumers = int(np.median([flow.consumers for flow in usual]))
            serving = max(flow.consumers for flow in now)
            if serving < consumers:
                note, cause = f"{serving} replicas serve, where {consumers} did; {note}", Cause.REPLICA
            elif arrived < CHANGED * before and service > CHANGED:
                note, cause = f"a request takes {service:.1f} times as long as before; {note}", Cause.VERSION
            else:
                note = f"{note}, where {before:.0f} came before"
        breach = "has passed" if wait_s >= self.limit_s else f"passes in {in_s:.0f} s"
        return Alarm(
            Signal.QUEUEING,
            Phase.QUEUE,
            log_evalue=0.0,
            change_second=flows[-GROWING_S - 1].second,
            level=0,
            before=np.array([float(np.median([flow.wait_s for flow in usual or flows])) * NS]),
            after=np.array([wait_s * NS]),
            cause=cause,
            severity=Severity.PAGE,
            note=f"the limit of {self.limit_s:g} s {breach}: {note}",
        )
