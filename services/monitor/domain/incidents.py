"""The life of an incident: opened by an alarm, moved to the deepest phase at fault, closed on recovery."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.monitor.domain.blocks import NS
from services.monitor.domain.detectors import Alarm, Recovery
from services.monitor.domain.phases import DEEPEST_FIRST, Phase, Signal
from services.monitor.domain.reference import LEVELS

IDLE_S = 300
"""An open incident of a version without traffic for this long is closed."""
MAX_TRACES = 5


@dataclass(frozen=True, slots=True)
class Incident:
    """Something is wrong, or was. ``before`` and ``after``: error share, or median in seconds. Times in Unix ns.

    ``incident_id`` sorts by the time of opening. ``traces`` are trace ids in hexadecimal digits.
    """

    incident_id: str
    model: str
    version: str
    signal: Signal
    phase: Phase | None
    summary: str
    before: float
    after: float
    change_ns: int
    open_ns: int
    log_evalue: float
    average_run_length: float
    traces: tuple[str, ...]
    close_ns: int | None = None

    @property
    def is_open(self) -> bool:
        return self.close_ns is None


IncidentKey = tuple[str, str, Signal]


class Incidents:
    """The open incidents: at most one for each version and signal, whatever number of phases is in alarm.

    Methods return the incidents they changed, as they are now.
    """

    def __init__(self, *, average_run_length: float) -> None:
        self._average_run_length = average_run_length
        self._open: dict[IncidentKey, Incident] = {}
        self._alarmed: dict[IncidentKey, set[Phase | None]] = {}
        self._last_traffic_ns: dict[tuple[str, str], int] = {}

    @property
    def open(self) -> list[Incident]:
        """Oldest first."""
        return sorted(self._open.values(), key=lambda incident: incident.incident_id)

    def adopt(self, incident: Incident, *, now_ns: int) -> None:
        """Take over an open incident of before a restart."""
        key = (incident.model, incident.version, incident.signal)
        self._open[key] = incident
        self._alarmed[key] = {incident.phase}
        self._last_traffic_ns[incident.model, incident.version] = now_ns

    def saw_traffic(self, model: str, version: str, *, now_ns: int) -> None:
        if (model, version) in self._last_traffic_ns:
            self._last_traffic_ns[model, version] = now_ns

    def take(
        self, model: str, version: str, finding: Alarm | Recovery, *, traces: Iterable[str], now_ns: int
    ) -> list[Incident]:
        """Let a finding change an incident; ``traces`` show an alarm, at most ``MAX_TRACES`` are kept."""
        key = (model, version, finding.signal)
        if isinstance(finding, Recovery):
            alarmed = self._alarmed.get(key, set())
            alarmed.discard(finding.phase)
            how = "lost sight of, as traffic became unlike any before," if finding.is_lost else "back to normal"
            return [self.close(key, how=how, now_ns=now_ns)] if key in self._open and not alarmed else []
        known = self._open.get(key)
        self._alarmed.setdefault(key, set()).add(finding.phase)
        self._last_traffic_ns[model, version] = now_ns
        if known is not None and not _is_deeper(finding.phase, known.phase):
            return []
        self._open[key] = self._opened(model, version, finding, known, tuple(traces)[:MAX_TRACES], now_ns)
        return [self._open[key]]

    def close_idle(self, *, now_ns: int) -> list[Incident]:
        """Close the incidents of versions that have had no traffic for ``IDLE_S``."""
        idle = [key for key in self._open if self._last_traffic_ns[key[:2]] <= now_ns - IDLE_S * NS]
        return [self.close(key, how="closed, as there was no more traffic,", now_ns=now_ns) for key in idle]

    def _opened(
        self, model: str, version: str, alarm: Alarm, known: Incident | None, traces: tuple[str, ...], now_ns: int
    ) -> Incident:
        """A new incident, or a known one with the deeper phase that turned out to be at fault."""
        scale, middle = (1.0, 0) if alarm.signal is Signal.ERROR_RATE else (1e9, LEVELS.index(0.5))
        return Incident(
            incident_id=known.incident_id if known else f"{now_ns // 1_000_000:012x}{os.urandom(4).hex()}",
            model=model,
            version=version,
            signal=alarm.signal,
            phase=alarm.phase,
            summary=summarise(model, version, alarm),
            before=float(alarm.before[middle]) / scale,
            after=float(alarm.after[middle]) / scale,
            change_ns=alarm.change_second * NS,
            open_ns=known.open_ns if known else now_ns,
            log_evalue=alarm.log_evalue,
            average_run_length=self._average_run_length,
            traces=traces or (known.traces if known else ()),
        )

    def close(self, key: IncidentKey, *, how: str, now_ns: int) -> Incident:
        """Close an open incident; ``how`` continues its summary."""
        incident = self._open.pop(key)
        self._alarmed.pop(key, None)
        if not any(other[:2] == key[:2] for other in self._open):
            self._last_traffic_ns.pop(key[:2], None)
        lasted = _duration(now_ns - incident.change_ns)
        return replace(
            incident, close_ns=now_ns, summary=f"{incident.summary.removesuffix('.')}; {how} after {lasted}."
        )


def _is_deeper(phase: Phase | None, than: Phase | None) -> bool:
    return phase is not None and than is not None and DEEPEST_FIRST.index(phase) < DEEPEST_FIRST.index(than)


def summarise(model: str, version: str, alarm: Alarm) -> str:
    """What changed, from what to what, since when: one sentence for a tired operator."""
    since = datetime.fromtimestamp(alarm.change_second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    before, after = float(alarm.before[alarm.level]), float(alarm.after[alarm.level])
    if alarm.signal is Signal.ERROR_RATE:
        return f"Errors of {model} version {version} rose from {before:.2%} to {after:.2%} of requests at {since}."
    phase = alarm.phase.label.replace("_", " ") if alarm.phase is not None else "latency"
    level = {0.5: "median", 0.9: "p90", 0.99: "p99"}[LEVELS[alarm.level]]
    return (
        f"{phase.capitalize()} of {model} version {version} became slower: "
        f"{level} rose from {_duration(before)} to {_duration(after)} at {since}."
    )


def _duration(ns: float) -> str:
    for unit, size in (("h", 3.6e12), ("min", 6e10), ("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns / 1e3:.3g} µs"
