"""Which replicas are stuck in a batch, and which are gone: rules, since here it is silence that speaks.

A batch is told of when it ends, so a replica with a long one says each second that it runs still. One that leaves says
so. One that does neither is gone, once it has been silent for longer than it ever was while its siblings worked, and
for longer than its silences would explain if they came by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.blocks import NS, Block, Pulse
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import COMPUTE_PHASES, Cause, Phase, Severity, Signal
from services.monitor.domain.replica import MAX_REPLICAS, SETTLING_SLOTS, WINDOW_S, Replica

LEAST_SEEN = 30
"""Seconds for which a replica must have been there to be missed, and batches that say how long they take."""
STUCK_NS = 2 * NS
STUCK_RATIO = 5
UNKNOWN_STUCK_NS = 60 * NS
"""The same while it isn't known how long batches take."""
LEAST_SILENCE = 3
LEAST_ABSENCE = 0.002
"""A second without a sign of life is taken to be no rarer: nobody is never late."""
COMPARABLE = 0.5
"""Of a replica's usual number of batches a second: what siblings must do at least for its silence to say something."""
_MANY = 100_000


class Presence:
    """Watches the replicas of one version."""

    def __init__(self, budget: Budget, replicas: Mapping[str, Replica]) -> None:
        """``replicas`` by their instances; they may come and go."""
        self._budget = budget
        self._replicas = replicas
        self._pulses: list[Pulse] = []
        self._infer = np.zeros(sketch.BINS)
        """Times of batches in the model, older ones with less and less weight."""
        self._judged = 0

    def add(self, block: Block) -> None:
        for counts in block.compute_counts.values():
            self._infer += counts[COMPUTE_PHASES.index(Phase.COMPUTE_INFER)]
        if self._infer.sum() > _MANY:
            self._infer /= 2

    def beat(self, pulse: Pulse) -> None:
        self._pulses.append(pulse)
        del self._pulses[:-MAX_REPLICAS]

    def clock_was_set_back(self) -> None:
        """Forget what is in the future now."""
        self._pulses, self._judged = [], 0

    def judge_pulses(self) -> Iterator[Alarm | Recovery]:
        """Judge what replicas said of themselves since the last time."""
        pulses, self._pulses = self._pulses, []
        for pulse in pulses:
            replica = self._replicas.get(pulse.instance)
            if replica is None:
                continue
            if pulse.is_stopping:
                replica.is_stopping, replica.stream = True, None
                yield from replica.gone()
            else:
                yield from self._judge_batch(replica, pulse)

    def _judge_batch(self, replica: Replica, pulse: Pulse) -> Iterator[Alarm | Recovery]:
        """A batch that runs still."""
        begin, end = (pulse.end_ns - pulse.running_ns) // NS, pulse.end_ns // NS
        replica.was_there(begin, end)
        yield from replica.alive()
        is_known, p99 = self._infer.sum() >= LEAST_SEEN, sketch.quantile(self._infer, 0.99)
        limit = max(STUCK_NS, STUCK_RATIO * p99) if is_known else UNKNOWN_STUCK_NS
        is_over = end < replica.last_second
        if not replica.is_stuck and not is_over and pulse.running_ns > limit:
            replica.is_stuck = True
            yield _alarm(Signal.STUCK, replica, begin, p99, float(pulse.running_ns), Severity.PAGE, pulse.trace_id)

    def judge_silence(self, latest: int) -> Iterator[Alarm]:
        """Look at the seconds that siblings have been through: whoever did nothing in them may be gone."""
        for second in range(max(self._judged + 1, latest - WINDOW_S), latest):
            active = [one for one in self._replicas.values() if not one.is_stopping and not one.is_dead]
            if len(active) > 1:
                batches = [one.executions.get(second, 0) for one in active]
                total = sum(batches)
                for replica, own in zip(active, batches, strict=True):
                    if replica.slots > SETTLING_SLOTS:
                        yield from self._judge_absence(replica, second, (total - own) / (len(active) - 1))
        self._judged = max(self._judged, latest - 1)

    def _judge_absence(self, replica: Replica, second: int, siblings: float) -> Iterator[Alarm]:
        """``siblings``: batches of each of them in a second, on average."""
        if siblings < COMPARABLE * replica.usual or not siblings:
            return
        if second in replica.present:
            replica.seen += 1
            replica.usual += (siblings - replica.usual) / min(replica.seen, 60)
            if replica.absent_since and second > replica.absent_since:
                silence = second - replica.absent_since
                replica.absences += silence
                replica.longest_silence = max(replica.longest_silence, silence)
            replica.absent_since = 0
            return
        replica.absent_since = replica.absent_since or second
        silence = second + 1 - replica.absent_since
        if replica.seen >= LEAST_SEEN and silence >= self._telling_silence(replica):
            replica.is_dead = True
            yield _alarm(Signal.DEAD, replica, replica.absent_since, replica.usual, 0.0, Severity.TICKET)

    def _telling_silence(self, replica: Replica) -> float:
        """Seconds. The longest silence there was is broken again and again; so chance has to be beyond the budget."""
        # What a next absence is expected at after so many (Krichevsky and Trofimov).
        rate = max((replica.absences + 0.5) / (replica.seen + replica.absences + 1), LEAST_ABSENCE)
        by_chance = self._budget.threshold / -math.log(rate)
        return max(LEAST_SILENCE, replica.longest_silence + 1, by_chance)


def _alarm(
    signal: Signal, replica: Replica, second: int, before: float, after: float, severity: Severity, *traces: bytes
) -> Alarm:
    return Alarm(
        signal,
        None,
        log_evalue=0.0,
        change_second=second,
        level=0,
        before=np.array([before]),
        after=np.array([after]),
        replica=replica.instance,
        cause=Cause.REPLICA,
        severity=severity,
        traces=traces,
    )
