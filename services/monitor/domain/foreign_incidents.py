"""Incidents of services of other makes: one for each service and signal, whatever number of its series is in alarm."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from services.monitor.domain.blocks import NS
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.foreign import SeriesKey
from services.monitor.domain.incidents import IDLE_S, MAX_TRACES, Incident
from services.monitor.domain.phases import Signal
from services.monitor.domain.reference import LEVELS
from services.monitor.domain.summaries import duration_text

PREFIX = "services/"
"""Begins the ``model`` of such an incident, and the service's name follows: no model's id has a slash."""

_MEDIAN = LEVELS.index(0.5)
_QUANTILES = {0.1: "p10", 0.5: "median", 0.9: "p90", 0.99: "p99"}


def is_foreign(model: str) -> bool:
    return model.startswith(PREFIX)


class ForeignIncidents:
    """The open ones. ``model`` of an incident is ``services/{service.name}``, ``version`` the operation.

    Methods return the incidents they changed, as they are now.
    """

    def __init__(self, *, average_run_length: float) -> None:
        self._average_run_length = average_run_length
        self._open: dict[tuple[str, Signal], Incident] = {}
        self._alarmed: dict[tuple[str, Signal], set[SeriesKey]] = {}
        self._last_call_ns: dict[str, int] = {}
        self._adopted_ns: dict[tuple[str, Signal], int] = {}

    @property
    def open(self) -> list[Incident]:
        """Oldest first; safe to use from another thread."""
        return sorted(self._open.copy().values(), key=lambda incident: incident.incident_id)

    def adopt(self, incident: Incident, *, now_ns: int) -> None:
        """Take over an open incident of before a restart."""
        service = incident.model.removeprefix(PREFIX)
        self._open[service, incident.signal] = incident
        self._alarmed[service, incident.signal] = set()
        self._last_call_ns[service] = self._adopted_ns[service, incident.signal] = now_ns

    def goes_on(self, key: SeriesKey, signal: Signal) -> bool:
        """Whether a series that comes back after a restart was in alarm; it counts as one that is from now on."""
        incident = self._open.get((key.service, signal))
        if incident is None or incident.version != key.operation:
            return False
        self._alarmed[key.service, signal].add(key)
        return True

    def saw_calls(self, services: Iterable[str], *, now_ns: int) -> None:
        for service in services:
            if service in self._last_call_ns:
                self._last_call_ns[service] = now_ns

    def take(self, key: SeriesKey, finding: Alarm | Recovery, *, traces: Iterable[str], now_ns: int) -> list[Incident]:
        """Let a finding open or close an incident; ``traces`` show an alarm, at most ``MAX_TRACES`` are kept."""
        of = key.service, finding.signal
        if isinstance(finding, Recovery):
            how = "lost sight of, as calls became unlike any before," if finding.is_lost else "back to normal"
            return self._leave(of, key, how=how, now_ns=now_ns)
        self._alarmed.setdefault(of, set()).add(key)
        self._last_call_ns[key.service] = now_ns
        if of in self._open:
            return []
        self._open[of] = self._opened(key, finding, tuple(traces)[:MAX_TRACES], now_ns)
        return [self._open[of]]

    def forget(self, keys: Iterable[SeriesKey], *, now_ns: int) -> list[Incident]:
        """Series were forgotten, and will not recover: close the incidents that only they kept open."""
        changed: list[Incident] = []
        for key in keys:
            for of in [of for of in self._open if key in self._alarmed[of]]:
                changed += self._leave(of, key, how="closed, as what was in alarm is called no more,", now_ns=now_ns)
        return changed

    def _leave(self, of: tuple[str, Signal], key: SeriesKey, *, how: str, now_ns: int) -> list[Incident]:
        """A series is in alarm no more."""
        alarmed = self._alarmed.get(of, set())
        alarmed.discard(key)
        return [self._close(of, how=how, now_ns=now_ns)] if of in self._open and not alarmed else []

    def close_idle(self, *, now_ns: int) -> list[Incident]:
        """Close the incidents of services that have had no calls for ``IDLE_S``, and those of before a restart that no
        series went on with for so long.
        """
        before_ns = now_ns - IDLE_S * NS
        closed: list[Incident] = []
        for of in list(self._open):
            if self._last_call_ns[of[0]] <= before_ns:
                closed.append(self._close(of, how="closed, as there were no more calls,", now_ns=now_ns))
            elif not self._alarmed[of] and self._adopted_ns.get(of, now_ns) <= before_ns:
                closed.append(self._close(of, how="lost sight of in a restart", now_ns=now_ns))
        return closed

    def _opened(self, key: SeriesKey, alarm: Alarm, traces: tuple[str, ...], now_ns: int) -> Incident:
        scale, level = (1.0, 0) if alarm.signal is Signal.ERROR_RATE else (1e9, _MEDIAN)
        return Incident(
            incident_id=f"{now_ns // 1_000_000:012x}{os.urandom(4).hex()}",
            model=f"{PREFIX}{key.service}",
            version=key.operation,
            signal=alarm.signal,
            phase=alarm.phase,
            summary=summarise(key, alarm),
            before=float(alarm.before[level]) / scale,
            after=float(alarm.after[level]) / scale,
            change_ns=alarm.change_second * NS,
            open_ns=now_ns,
            log_evalue=alarm.log_evalue,
            average_run_length=self._average_run_length,
            traces=traces,
            replica=key.replica,
        )

    def _close(self, of: tuple[str, Signal], *, how: str, now_ns: int) -> Incident:
        incident = self._open.pop(of)
        self._alarmed.pop(of, None)
        self._adopted_ns.pop(of, None)
        if not any(service == of[0] for service, _ in self._open):
            self._last_call_ns.pop(of[0], None)
        lasted = duration_text(now_ns - incident.change_ns)
        return replace(
            incident, close_ns=now_ns, summary=f"{incident.summary.removesuffix('.')}; {how} after {lasted}."
        )


def summarise(key: SeriesKey, alarm: Alarm) -> str:
    """What changed, from what to what, since when: one sentence for a tired operator."""
    since = datetime.fromtimestamp(alarm.change_second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    where = f"{key.operation} of service {key.service}" + (f" on {key.replica}" if key.replica else "")
    before, after = float(alarm.before[alarm.level]), float(alarm.after[alarm.level])
    if alarm.signal is Signal.ERROR_RATE:
        # What was normal is known as an upper limit only.
        return f"Errors of {where} rose from at most {before:.2%} to {after:.2%} of calls at {since}."
    level = _QUANTILES[LEVELS[alarm.level]]
    return f"{where} became slower: {level} rose from {duration_text(before)} to {duration_text(after)} at {since}."
