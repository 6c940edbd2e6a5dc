"""Incidents as other systems are told of them: labels that say which, annotations that say what."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote

from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Signal

ALERT_NAME = "PenstockIncident"
MAX_ENDED = 1_000
"""Ended alerts that wait to be told of; beyond it the oldest are dropped and counted."""

_DURATIONS = frozenset({Signal.LATENCY, Signal.QUEUEING, Signal.STUCK})
_SHARES = frozenset({Signal.ERROR_RATE, Signal.NONFINITE, Signal.CLASS_MIX, Signal.TRACE_SHAPE, Signal.ACCURACY})

Labels = tuple[tuple[str, str], ...]
"""Names and values, in a fixed order: they are an alert's identity."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where people look: templates of URLs, empty where there is no such place.

    ``trace`` has ``{trace_id}``; ``incident`` may have ``{incident_id}``, ``{model}``, ``{version}``, ``{from_ms}`` and
    ``{to_ms}``, where ``to_ms`` of an open incident is ``now``.
    """

    trace: str = ""
    incident: str = ""

    def to_trace(self, trace_id: str) -> str:
        return self.trace.replace("{trace_id}", trace_id)

    def to_incident(self, incident: Incident) -> str:
        values = {
            "incident_id": incident.incident_id,
            "model": quote(incident.model, safe=""),
            "version": quote(incident.version, safe=""),
            "from_ms": str(incident.change_ns // 1_000_000 - 900_000),
            "to_ms": "now" if incident.close_ns is None else str(incident.close_ns // 1_000_000 + 300_000),
        }
        url = self.incident
        for name, value in values.items():
            url = url.replace("{" + name + "}", value)
        return url


@dataclass(frozen=True, slots=True)
class Alert:
    """One incident as it is to be told; ``ends_ns`` is None while it goes on. Times in Unix ns."""

    incident_id: str
    labels: Labels
    annotations: Mapping[str, str]
    url: str
    starts_ns: int
    ends_ns: int | None


def alert_of(incident: Incident, links: Links) -> Alert:
    return Alert(
        incident_id=incident.incident_id,
        labels=tuple((name, value) for name, value in labels_of(incident).items() if value),
        annotations=annotations_of(incident, links),
        url=links.to_incident(incident),
        starts_ns=incident.change_ns,
        ends_ns=incident.close_ns,
    )


def labels_of(incident: Incident) -> dict[str, str]:
    return {
        "alertname": ALERT_NAME,
        "model": incident.model,
        "version": incident.version,
        "signal": str(incident.signal),
        "phase": "" if incident.phase is None else incident.phase.label,
        "replica": incident.replica,
        "arm": incident.arm,
        "cause": str(incident.cause),
        "severity": str(incident.severity),
    }


def annotations_of(incident: Incident, links: Links) -> dict[str, str]:
    told = {
        "summary": incident.summary,
        "change": f"{_figure(incident, incident.before)} → {_figure(incident, incident.after)}",
        "since": datetime.fromtimestamp(incident.change_ns / NS, UTC).isoformat(timespec="seconds"),
        "e_value": "" if incident.is_certain else power_of_ten(incident.log_evalue),
        "average_run_length": "" if incident.is_certain else power_of_ten(math.log(incident.average_run_length)),
        "incident": f"incidents/{incident.incident_id}",
        "traces": _traces(incident.traces, links),
        "innocent_traces": _traces(incident.innocent_traces, links),
    }
    return {name: value for name, value in told.items() if value}


def _traces(traces: Iterable[str], links: Links) -> str:
    return "\n".join(links.to_trace(trace) or trace for trace in traces)


def _figure(incident: Incident, value: float) -> str:
    if incident.signal in _DURATIONS:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} of requests" if incident.signal in _SHARES else f"{value:.3g}"


def power_of_ten(logarithm: float) -> str:
    """A number by its natural logarithm, also one that a float can't hold: ``1.2e7``."""
    decimal = logarithm / math.log(10)
    exponent = math.floor(decimal)
    mantissa = round(10 ** (decimal - exponent), 1)
    return f"{mantissa / 10:.1f}e{exponent + 1}" if mantissa >= 10 else f"{mantissa:.1f}e{exponent}"


class AlertBook:
    """What a receiver is to be told at any time: all that fires, and what ended and was not told of yet.

    A receiver knows an alert by its labels. An incident whose labels change (it moved to a deeper phase) ends one alert
    and begins another; an incident with the labels of one that has just ended goes on with its alert.
    """

    def __init__(self, *, on_drop: Callable[[int], None] = lambda _: None) -> None:
        """``on_drop`` hears how many ended alerts nobody will be told of."""
        self._on_drop = on_drop
        self._firing: dict[Labels, Alert] = {}
        self._labels: dict[str, Labels] = {}
        self._ended: OrderedDict[Labels, Alert] = OrderedDict()

    def __len__(self) -> int:
        """Ended alerts that wait to be told of."""
        return len(self._ended)

    def take(self, alert: Alert, *, now_ns: int) -> None:
        """Note how an incident is now."""
        known = self._labels.get(alert.incident_id)
        if alert.ends_ns is not None:
            self._end(replace(alert, labels=known or alert.labels))
            return
        if known is not None and known != alert.labels:
            self._end(replace(alert, labels=known, ends_ns=now_ns))
        self._labels[alert.incident_id] = alert.labels
        self._firing[alert.labels] = alert
        self._ended.pop(alert.labels, None)

    def _end(self, alert: Alert) -> None:
        self._labels.pop(alert.incident_id, None)
        firing = self._firing.get(alert.labels)
        if firing is not None and firing.incident_id != alert.incident_id:
            return  # another incident has these labels now
        self._firing.pop(alert.labels, None)
        self._ended[alert.labels] = alert
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
            self._on_drop(1)

    def due(self) -> list[Alert]:
        """All that is to be told now."""
        return [*self._firing.values(), *self._ended.values()]

    def told(self, alert: Alert) -> None:
        """The receiver has taken this alert, or never will."""
        if self._ended.get(alert.labels) is alert:
            del self._ended[alert.labels]
