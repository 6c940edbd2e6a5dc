"""The replicas of one version, each against its siblings: who is slow, and, by ``presence.py``, stuck or gone.

What load does, it does to all that take from the same lane, so a replica is compared with what its siblings did in the
same seconds, in batches of the same size; how it usually differs from them is learnt, and only a change counts. Spans
are judged as they come, since here nobody has to wait for a second to be complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from services.monitor.domain.bit_reference import PATIENT
from services.monitor.domain.bits import BitStream
from services.monitor.domain.blocks import Block, Pulse
from services.monitor.domain.evidence import Budget, Floats, levels_around
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import COMPUTE_PHASES, Cause, Phase, Severity, Signal
from services.monitor.domain.presence import Presence
from services.monitor.domain.reference import LEVELS as REFERENCE_LEVELS
from services.monitor.domain.replica import MAX_REPLICAS, SETTLING_SLOTS, WINDOW_S, Replica, Siblings
from services.monitor.domain.strata import (
    LEAST_BATCHES,
    LEAST_NS,
    LEVELS,
    Strata,
    batches_in,
    compared,
    quantiles_beside,
    sum_of,
)

LEARN_SLOTS = 30
WAIT_TICKS = 2
"""Times that siblings' spans of the same seconds are waited for."""
GONE_S = 600
PAGE_RATIO = 1.3
"""A replica that is slower than that beside its siblings wakes somebody."""
WORSE_RATIO = 1.5
"""One that was told of, and woke nobody, does so if its median is so many times its siblings'."""
_BITS = len(COMPUTE_PHASES) * len(LEVELS)
_HISTORY = 60
_MEDIAN = REFERENCE_LEVELS.index(0.5)


class Replicas:
    """All replicas of one version. At most ``MAX_REPLICAS`` are watched one by one."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._known: dict[str, Replica] = {}
        self._presence = Presence(budget, self._known)
        self._latest = 0

    def __len__(self) -> int:
        return len(self._known)

    def add(self, block: Block) -> None:
        if not block.instance or not block.executions:
            return
        replica = self._known.get(block.instance)
        if replica is None:
            if len(self._known) >= MAX_REPLICAS:
                return
            replica = self._known[block.instance] = Replica(block.instance)
        replica.add(block)
        self._presence.add(block)
        self._latest = max(self._latest, block.second)

    def hear_of(self, instance: str) -> None:
        """Its spans come too late to be judged; it lives all the same."""
        replica = self._known.get(instance)
        if replica is not None:
            replica.was_there(self._latest - WINDOW_S, self._latest)
            replica.absent_since = 0
            replica.is_heard = True

    def clock_was_set_back(self, second: int) -> None:
        """Forget what is in the future now."""
        self._latest = 0
        self._presence.clock_was_set_back()
        for replica in self._known.values():
            replica.clock_was_set_back(second)

    def beat(self, pulse: Pulse) -> None:
        self._presence.beat(pulse)

    def judge(self) -> Iterator[Alarm | Recovery]:
        """Judge what came since the last time."""
        yield from self._judge_durations()
        yield from self._presence.judge_pulses()
        yield from self._presence.judge_silence(self._latest)
        for name in [name for name, one in self._known.items() if one.last_second < self._latest - GONE_S]:
            yield from self._known.pop(name).gone()

    def _judge_durations(self) -> Iterator[Alarm | Recovery]:
        for replica in self._known.values():
            if replica.is_heard:
                replica.is_heard = False
                yield from replica.back()
            replica.forget(self._latest - WINDOW_S)
        siblings = Siblings(self._known.values())
        for replica in [one for one in self._known.values() if one.pending]:
            beside = siblings.of(replica, since=min(replica.pending))
            # What slows everybody mustn't look like one's fault: siblings' spans of the same seconds are waited for.
            if len(self._known) > 1 and replica.waited < WAIT_TICKS and not beside:
                replica.waited += 1
                continue
            batches, second = sum_of(replica.pending.values()), max(replica.pending)
            found = compared(batches, beside) or compared(batches, siblings.of(replica, since=0))
            replica.pending, replica.waited = {}, 0
            yield from replica.back()
            replica.slots += 1
            if found is not None and replica.slots > SETTLING_SLOTS:
                yield from self._judge_beside(replica, second, found, batches, siblings)

    def _judge_beside(
        self, replica: Replica, second: int, found: tuple[float, Floats], batches: Strata, siblings: Siblings
    ) -> Iterator[Alarm | Recovery]:
        stream = replica.stream
        if stream is None:
            self._learn(replica, found)
            return
        stream.threshold = self._budget.threshold
        if stream.observe(second, *found):
            if stream.is_alarmed:
                yield self._alarm(replica, stream, second, batches, siblings)
            else:
                yield from replica.recovered()
        elif replica.told is Severity.TICKET:
            yield from self._judge_worse(replica, second, siblings)

    def _learn(self, replica: Replica, found: tuple[float, Floats]) -> None:
        replica.learnt.append(found)
        if len(replica.learnt) >= LEARN_SLOTS:
            counts = np.array([count for count, _ in replica.learnt])
            rows = np.stack([row for _, row in replica.learnt])
            replica.stream = BitStream.learnt(counts, rows, PATIENT, threshold=self._budget.threshold, history=_HISTORY)
            replica.learnt = []
            if replica.told is not None:
                replica.stream.adopt_alarm()

    def _alarm(self, replica: Replica, stream: BitStream, second: int, batches: Strata, siblings: Siblings) -> Alarm:
        bit, change = stream.strongest, stream.change_second
        # A change is often dated a little early: its first half is left out, if there is enough beside it.
        since = (change + second + 1) // 2
        if batches_in(replica.since(since)) < LEAST_BATCHES:
            since = change
        own = replica.since(since) or batches
        phase, level = COMPUTE_PHASES[bit // len(LEVELS)], REFERENCE_LEVELS.index(LEVELS[bit % len(LEVELS)])
        around = levels_around(batches_in(own) / float(stream.reference.spread[bit]))
        before, after = _beside(replica, own, siblings, phase, (*REFERENCE_LEVELS, *around), since=since)
        is_page = after[level] >= PAGE_RATIO * max(1.0, float(before[level]))
        replica.told = Severity.PAGE if is_page else Severity.TICKET
        low, high = stream.interval(bit, change)
        return stream.told(
            Signal.LATENCY,
            bit,
            phase=phase,
            level=level,
            before=before[: len(REFERENCE_LEVELS)],
            after=after[: len(REFERENCE_LEVELS)],
            replica=replica.instance,
            cause=Cause.REPLICA,
            severity=replica.told,
            interval=(float(after[-2]), float(after[-1])),
            note=f"{low:.0%} to {high:.0%} of its batches are slower than siblings' usual",
        )

    def _judge_worse(self, replica: Replica, second: int, siblings: Siblings) -> Iterator[Alarm]:
        """Tell again of a replica that woke nobody, and has become much slower."""
        own = replica.since(second - WINDOW_S)
        if batches_in(own) < LEAST_BATCHES:
            return
        for phase in COMPUTE_PHASES:
            before, after = _beside(replica, own, siblings, phase, REFERENCE_LEVELS, since=second - WINDOW_S)
            usual = float(before[_MEDIAN])
            if usual and after[_MEDIAN] >= max(WORSE_RATIO * usual, usual + LEAST_NS):
                replica.told = Severity.PAGE
                yield Alarm(
                    Signal.LATENCY,
                    phase,
                    log_evalue=0.0,
                    change_second=min(replica.recent),
                    level=_MEDIAN,
                    before=before,
                    after=after,
                    replica=replica.instance,
                    cause=Cause.REPLICA,
                )
                return

    def dump(self) -> dict[str, Any]:
        """What was learnt of each replica, and the running evidence, as plain JSON values."""
        return {
            name: {"seen": [one.seen, one.absences, one.longest_silence, one.usual], **one.stream.dump()}
            for name, one in self._known.items()
            if one.stream is not None and not one.is_stopping
        }

    def load(self, data: Mapping[str, Any], *, second: int) -> None:
        """The reverse of :meth:`dump`; a replica that doesn't come back by itself is not missed.

        Raises:
            ValueError, KeyError, TypeError: the data are of another make.
        """
        for name, one in list(data.items())[:MAX_REPLICAS]:
            replica = self._known[name] = Replica(name, last_second=second, slots=SETTLING_SLOTS)
            replica.stream = BitStream.restored(
                one, PATIENT, bits=_BITS, threshold=self._budget.threshold, history=_HISTORY
            )
            replica.told = Severity.TICKET if replica.stream.is_alarmed else None
            replica.seen, replica.absences, replica.longest_silence, replica.usual = one["seen"]
            replica.is_stopping = True  # until it is heard of

    def adopt_alarm(self, signal: Signal, instance: str, *, second: int) -> None:
        """Take over an alarm of before a restart: it ends when the replica is well again, or is forgotten."""
        replica = self._known.setdefault(instance, Replica(instance, last_second=second))
        replica.is_stuck, replica.is_dead = signal is Signal.STUCK, signal is Signal.DEAD
        if signal is Signal.LATENCY:
            replica.told = Severity.TICKET
            if replica.stream is not None:
                replica.stream.adopt_alarm()

    def __iter__(self) -> Iterator[Replica]:
        return iter(list(self._known.values()))

    def streams(self) -> Iterator[tuple[str, float]]:
        """Evidence on each replica's durations."""
        for name, replica in list(self._known.items()):
            if replica.stream is not None:
                yield name, replica.stream.log_evalue


def _beside(
    replica: Replica, own: Strata, siblings: Siblings, phase: Phase, levels: tuple[float, ...], *, since: int
) -> tuple[Floats, Floats]:
    """Quantiles of siblings' durations and of its own, ns; of others' at any second if they did nothing like it."""
    others = siblings.of(replica, since=since)
    if compared(own, others) is None:
        others = siblings.of(replica, since=0)
    return quantiles_beside(others, own, phase, levels)
