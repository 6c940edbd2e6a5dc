"""Incidents as alerts of an Alertmanager, by its API v2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from services.common.errors import FailedPreconditionError, UnavailableError
from services.monitor.adapters.web_api import WebApi
from services.monitor.domain.alerts import Alert, AlertBook, Links, alert_of
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident

_LASTS = 4
"""An alert that wasn't sent again for so many periods ends by itself, as Prometheus' do."""
_AT_ONCE = 64


class Alertmanager:
    """One Alertmanager. It is told what fires at each change and every period, and what ended until it took it.

    So one that was away, or came back without its state, knows all after the next time; nothing piles up meanwhile but
    what ended, of which the newest are kept.
    """

    kind = "alertmanager"

    def __init__(self, api: WebApi, *, links: Links, every_s: float, clock: Callable[[], int]) -> None:
        """``clock`` gives Unix nanoseconds."""
        self.address = api.address
        self.every_s: float | None = every_s
        self.results: Counter[str] = Counter(sent=0, failed=0, dropped=0)
        self._api = api
        self._links = links
        self._lasts_ns = int(_LASTS * every_s * NS)
        self._clock = clock
        self._book = AlertBook(on_drop=self._drop)

    def __len__(self) -> int:
        return len(self._book)

    def take(self, incident: Incident) -> None:
        self._book.take(alert_of(incident, self._links), now_ns=self._clock())

    async def tell(self) -> None:
        """Also when there is nothing to tell, so that it shows before the first incident whether it can be told."""
        due = self._book.due()
        refusal: FailedPreconditionError | None = None
        for start in range(0, max(1, len(due)), _AT_ONCE):
            refusal = await self._send(due[start : start + _AT_ONCE]) or refusal
        if refusal is not None:
            raise refusal

    async def _send(self, alerts: Sequence[Alert]) -> FailedPreconditionError | None:
        """Post alerts; return why they were refused for good, if they were."""
        refusal: FailedPreconditionError | None = None
        until_ns = self._clock() + self._lasts_ns
        try:
            await self._api.call("POST", "/api/v2/alerts", [_posted(alert, until_ns=until_ns) for alert in alerts])
        except UnavailableError:
            self.results["failed"] += len(alerts)
            raise
        except FailedPreconditionError as error:
            # Sent again they would be refused again; what fires is tried with the next period all the same.
            refusal = error
            self._drop(len(alerts))
        else:
            self.results["sent"] += len(alerts)
        for alert in alerts:
            self._book.told(alert)
        return refusal

    def _drop(self, count: int) -> None:
        self.results["dropped"] += count


def _posted(alert: Alert, *, until_ns: int) -> dict[str, Any]:
    posted: dict[str, Any] = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": _time(alert.starts_ns),
        "endsAt": _time(until_ns if alert.ends_ns is None else max(alert.ends_ns, alert.starts_ns)),
    }
    return {**posted, "generatorURL": alert.url} if alert.url else posted


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / NS, UTC).isoformat(timespec="milliseconds")
