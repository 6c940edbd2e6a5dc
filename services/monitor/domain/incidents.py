"""The life of an incident: opened by an alarm, moved to the deepest cause, closed on recovery."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.monitor.domain.blocks import NS
from services.monitor.domain.depth import depth
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Finding, Recovery
from services.monitor.domain.phases import FAMILIES, Cause, Family, Phase, Severity, Signal
from services.monitor.domain.reference import LEVELS
from services.monitor.domain.summaries import duration_text, summarise

IDLE_S = 300
"""An open incident of a version without traffic for this long is closed."""
IDLE_PROBES_S = 3_600
"""The same of golden probes, which come without traffic, and where replicas that are gone are noticed before."""
IDLE_LABELS_S = 7 * 86_400
"""The same of labels, which come late, and often once a day."""
MAX_TRACES = 5

_LOST = "lost sight of, as traffic became unlike any before,"


@dataclass(frozen=True, slots=True)
class Incident:
    """Something is wrong, or was. Times in Unix ns.

    ``before``, ``after`` and the ends of the interval of ``after``: seconds (median) of durations, shares of errors and
    classes, else the figure itself. Ends are None where they aren't known. ``incident_id`` sorts by time.
    ``traces`` and ``innocent_traces`` are trace ids in hexadecimal digits.
    ``log_evalue`` and ``average_run_length`` are 0 for what a rule found, which is no matter of chance.
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
    innocent_traces: tuple[str, ...] = ()
    replica: str = ""
    arm: str = "stable"
    cause: Cause = Cause.VERSION
    severity: Severity = Severity.PAGE
    after_low: float | None = None
    after_high: float | None = None

    @property
    def is_open(self) -> bool:
        return self.close_ns is None

    @property
    def is_certain(self) -> bool:
        """Whether a rule found it."""
        return self.average_run_length == 0


IncidentKey = tuple[str, str, Family]
_Alarmed = tuple[Signal, Phase | None, str]
"""Signal, phase, and the replica whose own detector speaks; "" for the version's."""
_OF_REPLICAS = frozenset({Signal.STUCK, Signal.DEAD, Signal.NONFINITE, Signal.PROBE})


class Incidents:
    """The open incidents: at most one for each version and family of signals, however many phases and replicas it has.

    Methods return the incidents they changed, as they are now.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._open: dict[IncidentKey, Incident] = {}
        self._alarmed: dict[IncidentKey, set[_Alarmed]] = {}
        self._last_seen_ns: dict[IncidentKey, int] = {}
        """When what an open incident is about was last seen to go on: traffic, or golden probes."""

    @property
    def open(self) -> list[Incident]:
        """Oldest first."""
        return sorted(self._open.values(), key=lambda incident: incident.incident_id)

    def adopt(self, incident: Incident, *, now_ns: int) -> None:
        """Take over an open incident of before a restart."""
        key = _key(incident.model, incident.version, incident.signal)
        self._open[key] = incident
        self._alarmed[key] = {(incident.signal, incident.phase, source) for source in _sources(incident)}
        self._last_seen_ns[key] = now_ns

    def saw_traffic(self, model: str, version: str, *, now_ns: int) -> None:
        """A version answers. Golden probes are no traffic: they come whether or not anybody asks. Nor are labels."""
        for family in Family:
            if family not in (Family.PROBES, Family.LABELS):
                self._saw((model, version, family), now_ns)

    def saw_probe(self, model: str, version: str, *, now_ns: int) -> None:
        self._saw((model, version, Family.PROBES), now_ns)

    def saw_label(self, model: str, version: str, *, now_ns: int) -> None:
        self._saw((model, version, Family.LABELS), now_ns)

    def _saw(self, key: IncidentKey, now_ns: int) -> None:
        if key in self._last_seen_ns:
            self._last_seen_ns[key] = now_ns

    def take(
        self,
        model: str,
        version: str,
        finding: Finding,
        *,
        traces: Iterable[str],
        innocent: Iterable[str] = (),
        now_ns: int,
    ) -> list[Incident]:
        """Let a finding change an incident; ``traces`` show an alarm, at most ``MAX_TRACES`` of each are kept."""
        key = _key(model, version, finding.signal)
        if isinstance(finding, Recovery):
            return self._recover(key, finding, now_ns=now_ns)
        known = self._open.get(key)
        source = "" if finding.is_versions else finding.replica
        self._alarmed.setdefault(key, set()).add((finding.signal, finding.phase, source))
        self._last_seen_ns[key] = now_ns
        shown = tuple(traces)[:MAX_TRACES], tuple(innocent)[:MAX_TRACES]
        if known is None or _is_deeper(finding, known):
            self._open[key] = self._opened(key, finding, *shown, now_ns)
        elif finding.severity is Severity.PAGE and known.severity is Severity.TICKET:
            self._open[key] = _raised(known, finding, *shown)
        else:
            return []
        return [self._open[key]]

    def _recover(self, key: IncidentKey, finding: Recovery, *, now_ns: int) -> list[Incident]:
        alarmed = self._alarmed.get(key, set())
        alarmed.discard((finding.signal, finding.phase, finding.replica))
        gone = "closed, as it is gone," if finding.signal is Signal.PROBE else _LOST
        how = gone if finding.is_lost else "back to normal"
        return [self.close(key, how=how, now_ns=now_ns)] if key in self._open and not alarmed else []

    def close_idle(self, *, now_ns: int) -> list[Incident]:
        """Close the incidents of versions without traffic for ``IDLE_S``, or without a probe for ``IDLE_PROBES_S``."""
        idle = [key for key in self._open if self._last_seen_ns[key] <= now_ns - _idle_s(key[2]) * NS]
        return [self.close(key, how=_idle_text(key[2]), now_ns=now_ns) for key in idle]

    def _opened(
        self, key: IncidentKey, alarm: Alarm, traces: tuple[str, ...], innocent: tuple[str, ...], now_ns: int
    ) -> Incident:
        """A new incident, or the known one with the deeper cause that turned out to be at fault.

        Whoever was woken is told no less of it.
        """
        model, version, _ = key
        known = self._open.get(key)
        is_page = alarm.severity is Severity.PAGE or (known is not None and known.severity is Severity.PAGE)
        is_duration = alarm.signal in (Signal.LATENCY, Signal.QUEUEING, Signal.STUCK)
        scale, middle = (1e9 if is_duration else 1.0), LEVELS.index(0.5)
        # Evidence can't say more than that: a rule's is none.
        is_rule = alarm.log_evalue <= 0
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
            average_run_length=0.0 if is_rule else self._budget.run_length,
            traces=traces or (known.traces if known else ()),
            innocent_traces=innocent or (known.innocent_traces if known else ()),
            replica=alarm.replica,
            arm=alarm.arm,
            cause=alarm.cause,
            severity=Severity.PAGE if is_page else Severity.TICKET,
            after_low=None if alarm.interval is None else alarm.interval[0] / scale,
            after_high=None if alarm.interval is None else alarm.interval[1] / scale,
        )

    def close(self, key: IncidentKey, *, how: str, now_ns: int) -> Incident:
        """Close an open incident; ``how`` continues its summary."""
        incident = self._open.pop(key)
        self._alarmed.pop(key, None)
        self._last_seen_ns.pop(key, None)
        lasted = duration_text(now_ns - incident.change_ns)
        return replace(
            incident, close_ns=now_ns, summary=f"{incident.summary.removesuffix('.')}; {how} after {lasted}."
        )


def _sources(incident: Incident) -> set[str]:
    """Who may have raised it, which isn't stored: of slow replicas both they and the version have detectors."""
    if incident.signal in _OF_REPLICAS:
        return {incident.replica}
    return {"", incident.replica} if incident.signal is Signal.LATENCY else {""}


def _raised(known: Incident, alarm: Alarm, traces: tuple[str, ...], innocent: tuple[str, ...]) -> Incident:
    """A ticket that becomes a page by an alarm that is no deeper: both are told."""
    return replace(
        known,
        severity=Severity.PAGE,
        summary=f"{known.summary} {summarise(known.model, known.version, alarm)}",
        traces=known.traces or traces,
        innocent_traces=known.innocent_traces or innocent,
    )


def _key(model: str, version: str, signal: Signal) -> IncidentKey:
    return model, version, FAMILIES[signal]


def _idle_s(family: Family) -> int:
    return {Family.PROBES: IDLE_PROBES_S, Family.LABELS: IDLE_LABELS_S}.get(family, IDLE_S)


def _idle_text(family: Family) -> str:
    gone = {Family.PROBES: "were no more probes", Family.LABELS: "were no more labels"}
    return f"closed, as there {gone.get(family, 'was no more traffic')},"


def _is_deeper(alarm: Alarm, known: Incident) -> bool:
    return depth(alarm.signal, alarm.phase, alarm.cause) < depth(known.signal, known.phase, known.cause)
