"""Traces of the last minutes that show what happened, and ordinary ones beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from services.monitor.domain.blocks import Block, Exemplar
from services.monitor.domain.findings import Alarm, ids_of
from services.monitor.domain.per_replica import PerReplica
from services.monitor.domain.phases import Phase, Signal

_KEPT, _KEPT_OF_ONE = 4_096, 256
"""Blocks: of all replicas together, and of one of them."""
_ENOUGH = 3
_SLOWER, _ORDINARY = 1.05, 1.3
"""Of a normal duration: beyond the first a batch shows an alarm, within the second it is one to compare with."""


class Shown(NamedTuple):
    """What one block had to show."""

    second: int
    instance: str
    slowest: Mapping[Phase, Exemplar]
    ordinary: Mapping[Phase, Exemplar]
    shown: Mapping[Signal, Exemplar]
    failed: bytes | None


@dataclass(slots=True)
class Showcase:
    """Bounded: exemplars of the last blocks of each replica."""

    _blocks: PerReplica[Shown] = field(default_factory=PerReplica)

    def add(self, block: Block) -> None:
        shown = Shown(block.second, block.instance, block.slowest, block.ordinary, block.shown, block.failed)
        most = min(_KEPT_OF_ONE, _KEPT // max(1, len(self._blocks)))
        self._blocks.add(block.instance, shown, most=most)

    def with_traces(self, alarm: Alarm) -> Alarm:
        """The alarm with traces that show it, beside any that it has, and with innocent ones."""
        since, replica, phase = alarm.change_second, alarm.replica, alarm.phase or Phase.TOTAL
        within = math.inf
        if alarm.signal is Signal.LATENCY and alarm.phase is not None:
            normal = float(alarm.before[alarm.level])
            guilty = self.slow(phase, since=since, replica=replica, beyond_ns=_SLOWER * normal)
            guilty = guilty or self.slow(phase, since=since, replica=replica)
            within = _ORDINARY * normal
        elif alarm.signal is Signal.ERROR_RATE:
            guilty = self.failures(since=since, replica=replica)
        elif alarm.signal in (Signal.QUEUEING, Signal.STUCK, Signal.DEAD):
            guilty = self.slow(phase, since=since, replica=replica)
        else:
            guilty = self.answers(alarm.signal, since=since, replica=replica)
        innocent = self.innocent(phase, before=since, guilty=replica, within_ns=within)
        guilty = tuple(dict.fromkeys((*alarm.traces, *guilty)))
        return replace(alarm, traces=guilty, innocent=tuple(trace for trace in innocent if trace not in guilty))

    def slow(self, phase: Phase, *, since: int, replica: str = "", beyond_ns: float = 0.0) -> tuple[bytes, ...]:
        """Batches that took longer than so much, the slowest first.

        A change is often dated a little early: those of the first half are left out, if there are enough others.
        """
        found = [
            one
            for one in self._since(since, replica)
            if phase in one.slowest and one.slowest[phase].duration_ns > beyond_ns
        ]
        middle = (found[0].second + found[-1].second) / 2 if found else 0.0
        sure = [one for one in found if one.second >= middle]
        exemplars = [one.slowest[phase] for one in (sure if len(sure) >= _ENOUGH else found)]
        return ids_of(sorted(exemplars, key=lambda one: -one.duration_ns))

    def failures(self, *, since: int, replica: str = "") -> tuple[bytes, ...]:
        """Requests that failed, the latest first."""
        found = [one.failed for one in self._since(since, replica) if one.failed]
        return tuple(dict.fromkeys(reversed(found)))[:20]

    def answers(self, signal: Signal, *, since: int, replica: str = "") -> tuple[bytes, ...]:
        """Requests whose answers show it, the latest first; else any that were served since."""
        blocks = self._since(since, replica)[::-1]
        found = [one.shown[signal] for one in blocks if signal in one.shown]
        return ids_of(found or [one.slowest[Phase.TOTAL] for one in blocks if Phase.TOTAL in one.slowest])

    def innocent(
        self, phase: Phase, *, before: int, guilty: str = "", within_ns: float = float("inf")
    ) -> tuple[bytes, ...]:
        """Ordinary batches: of replicas that aren't at fault, or of before the change; the latest first."""
        found = [
            one.ordinary[phase]
            for one in reversed(list(self._blocks))
            if phase in one.ordinary
            and one.ordinary[phase].duration_ns <= within_ns
            and (one.second < before or (guilty and one.instance != guilty))
            and not one.failed
        ]
        return ids_of(found)

    def _since(self, since: int, replica: str) -> list[Shown]:
        return [one for one in self._blocks if one.second >= since and replica in ("", one.instance)]
