"""What becomes of a changed incident: it is stored, logged, and told to everyone who watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.common.errors import InvalidArgumentError, UnavailableError
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.domain.incidents import Incident
from services.monitor.saving import Saving

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Watcher:
    """Incidents that one watcher hasn't got yet: only the latest state of each, so a slow watcher costs little."""

    model: str
    pending: dict[str, Incident] = field(default_factory=dict)
    is_changed: asyncio.Event = field(default_factory=asyncio.Event)


class Journal:
    """Incidents as they change. While the database can't be written, changes are kept and written later."""

    def __init__(self, store: IncidentStore, *, open_incidents: Callable[[], Iterable[Incident]]) -> None:
        self._store = store
        self._open_incidents = open_incidents
        self._unsaved: dict[str, Incident] = {}
        self._saving = Saving(self._save)
        self._watchers: set[_Watcher] = set()
        self._is_closed = False

    async def record(self, changed: Sequence[Incident]) -> None:
        """Log, store and tell, so that who is told finds it stored, unless that takes long.

        Without changes: try again what wasn't stored.
        """
        for incident in changed:
            _log.warning("%s", incident.summary, extra=_fields(incident))
            self._unsaved[incident.incident_id] = incident
        if self._unsaved:
            await self._saving.wait()
        for incident in changed:
            for watcher in self._watchers:
                self._tell(watcher, incident)

    async def finish(self) -> None:
        """Store what isn't yet, however long it takes."""
        await self._saving.wait(None)

    async def _save(self) -> None:
        while self._unsaved:
            incident_id, incident = next(iter(self._unsaved.items()))
            try:
                await asyncio.to_thread(self._store.save, incident)
            except UnavailableError as error:
                _log.error("could not save incident %s, trying again: %s", incident_id, error)
                return
            except InvalidArgumentError as error:
                _log.error("incident %s can't be stored, ever: %s", incident_id, error)
            if self._unsaved[incident_id] is incident:
                del self._unsaved[incident_id]

    async def save_references(
        self, references: Mapping[tuple[str, str], Mapping[str, Any]], *, now_ns: int, keeps_others: bool = False
    ) -> None:
        """Store what has been learnt; a failure is logged, and the next time is as good."""
        try:
            await asyncio.to_thread(self._store.save_references, references, now_ns=now_ns, keeps_others=keeps_others)
        except (InvalidArgumentError, UnavailableError) as error:
            _log.error("could not save what has been learnt: %s", error)

    def _tell(self, watcher: _Watcher, incident: Incident) -> None:
        if watcher.model in ("", incident.model):
            watcher.pending[incident.incident_id] = incident
            watcher.is_changed.set()

    async def watch(self, model: str, *, ended: Iterable[Incident] = ()) -> AsyncGenerator[Incident]:
        """Those that ``ended`` before, the open incidents of a model ("" for all), then each one that changes.

        Raises:
            UnavailableError: the monitor stops.
        """
        watcher = _Watcher(model)
        self._watchers.add(watcher)
        try:
            for incident in (*ended, *self._open_incidents()):
                self._tell(watcher, incident)
            while not self._is_closed:
                while watcher.pending:
                    yield watcher.pending.pop(next(iter(watcher.pending)))
                watcher.is_changed.clear()
                if not self._is_closed:  # It may have been while the caller held an incident.
                    await watcher.is_changed.wait()
            raise UnavailableError("the monitor stops; watch again", reason="STOPPING")
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End all watches."""
        self._is_closed = True
        for watcher in self._watchers:
            watcher.is_changed.set()


def _fields(incident: Incident) -> dict[str, object]:
    return {
        "event.kind": "alert",
        "event.id": incident.incident_id,
        "event.action": "incident-open" if incident.is_open else "incident-closed",
        "labels": {
            "model": incident.model,
            "version": incident.version,
            "signal": str(incident.signal),
            "phase": "" if incident.phase is None else incident.phase.label,
            "replica": incident.replica,
            "cause": str(incident.cause),
            "severity": str(incident.severity),
        },
    }
