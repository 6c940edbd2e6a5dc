"""The replicas of one version, each against its siblings: who is slow, stuck, or gone.

What load does, it does to all that take from the same lane, so a replica is compared with what its siblings did in the
same seconds, in batches of the same size; how it usually differs from them is learnt, and only a change counts. Spans
are judged as they come, since here nobody has to wait for a second to be complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.bits import BitReference, BitStream
from services.monitor.domain.blocks import NS, Block, Pulse
from services.monitor.domain.evidence import Budget, Floats, levels_around
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import COMPUTE_PHASES, Cause, Phase, Severity, Signal
from services.monitor.domain.replica import WINDOW_S, Replica, sum_of_replicas
from services.monitor.domain.strata import LEVELS, Strata, compared, quantiles, sum_of

MAX_REPLICAS = 64
LEARN_SLOTS = 30
SETTLING_SLOTS = 5
WAIT_TICKS = 2
"""Times that siblings' spans of the same seconds are waited for."""
STUCK_NS = 2 * NS
STUCK_RATIO = 5
UNKNOWN_STUCK_NS = 60 * NS
"""The same while it isn't known how long batches take."""
GONE_S = 600
LEAST_SILENCE = 3
LEAST_ABSENCE = 0.002
PAGE_RATIO = 1.3
"""A replica that is slower than that beside its siblings wakes somebody."""
COMPARABLE = 0.5
"""Of a replica's usual number of batches a second: what siblings must do at least for its silence to say something."""


class Replicas:
    """All replicas of one version. At most ``MAX_REPLICAS`` are watched one by one."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._known: dict[str, Replica] = {}
        self._pulses: list[Pulse] = []
        self._infer = np.zeros(sketch.BINS)
        """Times of batches in the model, older ones with less and less weight."""
        self._latest = 0
        self._judged = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def live(self) -> list[str]:
        """Those that are there and take part."""
        return [name for name, one in self._known.items() if not one.is_stopping and not one.is_dead]

    def add(self, block: Block) -> None:
        if not block.instance or not block.executions:
            return
        replica = self._known.get(block.instance)
        if replica is None:
            if len(self._known) >= MAX_REPLICAS:
                return
            replica = self._known[block.instance] = Replica(block.instance)
        replica.add(block)
        for counts in block.compute_counts.values():
            self._infer += counts[COMPUTE_PHASES.index(Phase.COMPUTE_INFER)]
        self._latest = max(self._latest, block.second)

    def hear_of(self, instance: str) -> None:
        """Its spans come too late to be judged; it lives all the same."""
        replica = self._known.get(instance)
        if replica is not None:
            replica.present.update(range(self._latest - WINDOW_S, self._latest + 1))
            replica.absent_since = 0
            replica.is_heard = True

    def clock_was_set_back(self) -> None:
        """Forget what is in the future now."""
        self._latest = self._judged = 0
        for replica in self._known.values():
            replica.recent, replica.pending, replica.present = {}, {}, set()
            replica.last_second = replica.absent_since = 0

    def beat(self, pulse: Pulse) -> None:
        self._pulses.append(pulse)
        del self._pulses[:-MAX_REPLICAS]

    def judge(self) -> Iterator[Alarm | Recovery]:
        """Judge what came since the last time."""
        yield from self._judge_durations()
        yield from self._judge_pulses()
        yield from self._judge_silence()
        if self._infer.sum() > 100_000:
            self._infer /= 2
        for name in [name for name, one in self._known.items() if one.last_second < self._latest - GONE_S]:
            gone = self._known.pop(name)
            yield from self._forget(gone)

    def _forget(self, gone: Replica) -> Iterator[Recovery]:
        if gone.stream is not None and gone.stream.is_alarmed:
            yield from (Recovery(Signal.LATENCY, phase, True, gone.instance) for phase in COMPUTE_PHASES)
        if gone.is_dead or gone.is_stuck:
            yield Recovery(Signal.DEAD if gone.is_dead else Signal.STUCK, None, True, gone.instance)

    def _judge_pulses(self) -> Iterator[Alarm | Recovery]:
        pulses, self._pulses = self._pulses, []
        for pulse in pulses:
            replica = self._known.get(pulse.instance)
            if replica is None:
                continue
            if pulse.is_stopping:
                replica.is_stopping = True
                yield from self._forget(replica)
                replica.is_stuck = replica.is_dead = False
                replica.stream = None
                continue
            is_known, p99 = self._infer.sum() >= LEARN_SLOTS, sketch.quantile(self._infer, 0.99)
            limit = max(STUCK_NS, STUCK_RATIO * p99) if is_known else UNKNOWN_STUCK_NS
            is_over = pulse.end_ns // NS < replica.last_second
            if not replica.is_stuck and not is_over and pulse.running_ns > limit:
                replica.is_stuck = True
                second = (pulse.end_ns - pulse.running_ns) // NS
                yield _alarm(
                    Signal.STUCK, replica, second, before=p99, after=float(pulse.running_ns), traces=(pulse.trace_id,)
                )

    def _judge_durations(self) -> Iterator[Alarm | Recovery]:
        for replica in self._known.values():
            if replica.is_heard:
                replica.is_heard = False
                yield from self._back(replica)
        coming = [one for one in self._known.values() if one.pending]
        for replica in self._known.values():
            replica.forget(self._latest - WINDOW_S)
        for replica in coming:
            others = [one for one in self._known.values() if one is not replica]
            siblings = sum_of_replicas(others, since=min(replica.pending))
            # What slows everybody mustn't look like one's fault: siblings' spans of the same seconds are waited for.
            if others and replica.waited < WAIT_TICKS and not siblings:
                replica.waited += 1
                continue
            batches, second = sum_of(replica.pending.values()), max(replica.pending)
            beside = compared(batches, siblings) or compared(batches, sum_of_replicas(others, since=0))
            replica.pending, replica.waited = {}, 0
            yield from self._back(replica)
            replica.slots += 1
            if beside is not None and replica.slots > SETTLING_SLOTS:
                yield from self._judge_beside(replica, second, beside, batches, siblings)

    def _back(self, replica: Replica) -> Iterator[Recovery]:
        """It does something."""
        for signal, was in ((Signal.STUCK, replica.is_stuck), (Signal.DEAD, replica.is_dead)):
            if was:
                yield Recovery(signal, None, replica=replica.instance)
        replica.is_stopping = replica.is_stuck = replica.is_dead = False

    def _judge_beside(
        self, replica: Replica, second: int, beside: tuple[float, Floats], batches: Strata, siblings: Strata
    ) -> Iterator[Alarm | Recovery]:
        trials, shares = beside
        stream = replica.stream
        if stream is None:
            replica.learnt.append(beside)
            if len(replica.learnt) >= LEARN_SLOTS:
                counts = np.array([count for count, _ in replica.learnt])
                rows = np.stack([row for _, row in replica.learnt])
                replica.stream = BitStream.learnt(counts, rows, threshold=self._budget.threshold, history=60)
                replica.learnt = []
            return
        stream.threshold = self._budget.threshold
        if not stream.observe(second, trials, shares):
            return
        if not stream.is_alarmed:
            yield from (Recovery(Signal.LATENCY, phase, replica=replica.instance) for phase in COMPUTE_PHASES)
            return
        phase = COMPUTE_PHASES[stream.strongest // len(LEVELS)]
        before, after = (quantiles(strata, phase) for strata in (siblings, batches))
        low, high = stream.interval(stream.strongest, stream.change_second)
        level = stream.strongest % len(LEVELS)
        ratio = float(after[level] / max(1.0, before[level]))
        around = quantiles(batches, phase, levels_around(trials / float(stream.reference.spread[stream.strongest])))
        alarm = Alarm(
            Signal.LATENCY,
            phase,
            log_evalue=stream.log_evalue,
            change_second=stream.change_second,
            level=level,
            before=before,
            after=after,
            replica=replica.instance,
            cause=Cause.REPLICA,
            severity=Severity.PAGE if ratio >= PAGE_RATIO else Severity.TICKET,
            interval=(around[0], around[1]),
            note=f"{low:.0%} to {high:.0%} of its batches are slower than siblings' usual",
        )
        stream.restart()
        yield alarm

    def _judge_silence(self) -> Iterator[Alarm | Recovery]:
        """Look at the seconds that siblings have been through: whoever did nothing in them may be gone."""
        for second in range(max(self._judged + 1, self._latest - WINDOW_S), self._latest):
            for replica in self._known.values():
                others = [
                    sum(int(counts[0].sum()) for counts in one.recent.get(second, {}).values())
                    for one in self._known.values()
                    if one is not replica and not one.is_stopping and not one.is_dead
                ]
                if others and not replica.is_stopping and not replica.is_dead and replica.slots > SETTLING_SLOTS:
                    yield from self._judge_absence(replica, second, sum(others) / len(others))
        self._judged = max(self._judged, self._latest - 1)

    def _judge_absence(self, replica: Replica, second: int, siblings: float) -> Iterator[Alarm]:
        if siblings < COMPARABLE * replica.usual or not siblings:
            return
        if second in replica.present:
            replica.seen += 1
            replica.usual += (siblings - replica.usual) / min(replica.seen, 60)
            if replica.absent_since and second > replica.absent_since:
                replica.absences += second - replica.absent_since
            replica.absent_since = 0
            return
        replica.absent_since = replica.absent_since or second
        if replica.seen < LEARN_SLOTS:
            return
        # What a next absence is expected at after so many (Krichevsky and Trofimov); nobody is never late.
        rate = max((replica.absences + 0.5) / (replica.seen + replica.absences + 1), LEAST_ABSENCE)
        silence = second + 1 - replica.absent_since
        log_evalue = -silence * math.log(rate)
        if log_evalue >= self._budget.threshold and silence >= LEAST_SILENCE:
            replica.is_dead = True
            yield _alarm(
                Signal.DEAD,
                replica,
                replica.absent_since,
                before=replica.usual,
                after=0.0,
                log_evalue=log_evalue,
                severity=Severity.TICKET,
            )

    def dump(self) -> dict[str, Any]:
        """What was learnt of each replica, and the running evidence, as plain JSON values."""
        return {
            name: {
                "reference": one.stream.reference.dump(),
                "seen": [one.seen, one.absences, one.usual],
                **one.stream.dump(),
            }
            for name, one in self._known.items()
            if one.stream is not None and not one.is_stopping
        }

    def load(self, data: Mapping[str, Any], *, second: int) -> None:
        """The reverse of :meth:`dump`; a replica that doesn't come back by itself is not missed."""
        for name, one in list(data.items())[:MAX_REPLICAS]:
            replica = self._known[name] = Replica(name, last_second=second, slots=SETTLING_SLOTS)
            replica.stream = BitStream(
                BitReference.load(one["reference"]), threshold=self._budget.threshold, history=60
            )
            replica.stream.load(one)
            replica.seen, replica.absences, replica.usual = one["seen"]
            replica.is_stopping = True  # until it is heard of

    def adopt_alarm(self, signal: Signal, instance: str, *, second: int) -> None:
        """Take over an alarm of before a restart: it ends when the replica does something, or is forgotten."""
        replica = self._known.setdefault(instance, Replica(instance, last_second=second))
        replica.is_stuck, replica.is_dead = signal is Signal.STUCK, signal is Signal.DEAD

    def __iter__(self) -> Iterator[Replica]:
        return iter(list(self._known.values()))

    def streams(self) -> Iterator[tuple[str, float]]:
        """Evidence on each replica's durations."""
        for name, replica in list(self._known.items()):
            if replica.stream is not None:
                yield name, replica.stream.log_evalue


def _alarm(
    signal: Signal,
    replica: Replica,
    second: int,
    *,
    before: float,
    after: float,
    log_evalue: float = 0.0,
    severity: Severity = Severity.PAGE,
    traces: tuple[bytes, ...] = (),
) -> Alarm:
    return Alarm(
        signal,
        None,
        log_evalue=log_evalue,
        change_second=second,
        level=0,
        before=np.array([before]),
        after=np.array([after]),
        replica=replica.instance,
        cause=Cause.REPLICA,
        severity=severity,
        traces=traces,
    )
