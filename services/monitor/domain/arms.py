"""What a version is to its model, as its spans say, and how loudly it may be told of then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from services.monitor.domain.blocks import SHADOW, STABLE, Block
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Phase, Severity, Signal


@dataclass(slots=True)
class Arm:
    """A version's arm by the newest second of it: it changes as the version is tried and promoted.

    Nobody waits for the answers of a shadow, so what is wrong with one wakes nobody, until it has callers.
    """

    name: str = STABLE
    _second: int = 0
    _lowered: dict[tuple[Signal, Phase | None, str], Alarm] = field(default_factory=dict)
    """Alarms that go on, and would have woken somebody."""

    def note(self, block: Block) -> None:
        """What comes late, or from a gateway that doesn't say, is no change back; of a second with two arms that counts
        whose callers have the answers.
        """
        if not block.executions or block.second < self._second:
            return
        if block.second > self._second or self.name == SHADOW:
            self.name = block.arm
        self._second = block.second

    def clock_was_set_back(self) -> None:
        self._second = 0

    def told(self, alarm: Alarm) -> Alarm:
        """The alarm as it is told."""
        alarm = replace(alarm, arm=self.name)
        if self.name != SHADOW or alarm.severity is Severity.TICKET:
            return alarm
        self._lowered[_source(alarm)] = alarm
        return replace(alarm, severity=Severity.TICKET)

    def saw(self, recovery: Recovery) -> None:
        self._lowered.pop((recovery.signal, recovery.phase, recovery.replica), None)

    def raised(self) -> Iterator[Alarm]:
        """Alarms that go on, and were told of quietly, of a version that has callers by now."""
        if self.name != SHADOW:
            lowered, self._lowered = self._lowered, {}
            yield from (replace(alarm, arm=self.name) for alarm in lowered.values())


def _source(alarm: Alarm) -> tuple[Signal, Phase | None, str]:
    """As its recovery names it: that of a version's alarm knows of no replica."""
    return alarm.signal, alarm.phase, "" if alarm.is_versions else alarm.replica
