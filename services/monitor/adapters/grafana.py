"""Incidents as annotations of a Grafana: regions from the change to the recovery, on any dashboard that asks."""

from __future__ import annotations

import html
from collections import Counter, OrderedDict
from typing import Any
from urllib.parse import quote

from services.common.errors import FailedPreconditionError, UnavailableError
from services.monitor.adapters.web_api import WebApi
from services.monitor.domain.alerts import Links, annotations_of, labels_of
from services.monitor.domain.incidents import Incident

MAX_PENDING = 1_000
"""Incidents whose latest state waits to be told; beyond it the oldest are dropped and counted."""
_MAX_KNOWN = 10_000
_TAG = "penstock"
_SHOWN = ("model", "version", "signal", "phase", "replica", "arm", "cause", "severity")
"""Labels that are tags too."""
_MS = 1_000_000
_LOOK_EVERY_S = 60.0


class Grafana:
    """One Grafana. Each incident is one annotation, found again by its tag after a restart of either side."""

    kind = "grafana"
    every_s: float | None = _LOOK_EVERY_S

    def __init__(self, api: WebApi, *, links: Links) -> None:
        self.address = api.address
        self.results: Counter[str] = Counter(sent=0, failed=0, dropped=0)
        self._api = api
        self._links = links
        self._pending: OrderedDict[str, Incident] = OrderedDict()
        self._known: OrderedDict[str, int] = OrderedDict()
        """Grafana's number of the annotation, by incident."""

    def __len__(self) -> int:
        return len(self._pending)

    def take(self, incident: Incident) -> None:
        self._pending[incident.incident_id] = incident
        while len(self._pending) > MAX_PENDING:
            self._pending.popitem(last=False)
            self.results["dropped"] += 1

    async def tell(self) -> None:
        """Also when there is nothing to tell, so that it shows before the first incident whether it can be told."""
        if not self._pending:
            await self._api.call("GET", f"/api/annotations?limit=1&tags={_TAG}")
        refusal: FailedPreconditionError | None = None
        while self._pending:
            incident = next(iter(self._pending.values()))
            try:
                await self._write(incident)
            except UnavailableError:
                self.results["failed"] += 1
                raise
            except FailedPreconditionError as error:
                refusal = error
                self.results["dropped"] += 1
            else:
                self.results["sent"] += 1
            if self._pending.get(incident.incident_id) is incident:  # it may have changed meanwhile
                del self._pending[incident.incident_id]
        if refusal is not None:
            raise refusal

    async def _write(self, incident: Incident) -> None:
        body = _annotation(incident, self._links)
        number = self._known.get(incident.incident_id) or await self._find(incident)
        if number is None:
            number = self._number(await self._api.call("POST", "/api/annotations", body))
        else:
            await self._api.call("PATCH", f"/api/annotations/{number}", body)
        self._known[incident.incident_id] = number
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    async def _find(self, incident: Incident) -> int | None:
        """What an earlier run, or an attempt whose answer was lost, has written."""
        query = f"type=annotation&limit=1&tags={quote(_own_tag(incident))}"
        found = await self._api.call("GET", f"/api/annotations?{query}")
        return self._number(found[0]) if isinstance(found, list) and found else None

    def _number(self, answer: Any) -> int:
        number = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(number, int):
            raise UnavailableError(f"{self.address} answered {str(answer)[:200]!r}, expected what Grafana would")
        return number


def _annotation(incident: Incident, links: Links) -> dict[str, Any]:
    labels = labels_of(incident)
    start_ms = incident.change_ns // _MS
    end_ms = start_ms if incident.close_ns is None else max(start_ms, incident.close_ns // _MS)
    tags = [_TAG, "incident", _own_tag(incident), "open" if incident.is_open else "closed"]
    named = [f"{name}:{labels[name]}" for name in _SHOWN if labels[name]]
    return {"time": start_ms, "timeEnd": end_ms, "tags": [*tags, *named], "text": _text(incident, links)}


def _own_tag(incident: Incident) -> str:
    return f"incident:{incident.incident_id}"


def _text(incident: Incident, links: Links) -> str:
    """Grafana shows it as HTML."""
    told = annotations_of(incident, links)
    lines = [html.escape(told[name]) for name in ("summary", "change") if name in told]
    if not incident.is_certain:
        lines.append(f"e-value {told['e_value']}, average run length {told['average_run_length']}")
    if links.trace:
        shown = (
            f'<a href="{html.escape(links.to_trace(trace))}">trace {number}</a>'
            for number, trace in enumerate(incident.traces, 1)
        )
        lines.append(" ".join(shown))
    return "<br/>".join(line for line in lines if line)
