"""Services of other makes, by the calls that their spans tell of: how many series there may be, and what they do.

A series is an operation of a service on one of its instances. Whoever puts ids into names would make series without
end, so they are capped, and what comes beyond a cap is counted in a series called ``_overflow``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.monitor.domain.blocks import NS, plausible_ns
from services.monitor.domain.figures import PANE_S
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.foreign_series import ForeignSeries, Tally
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Signal

OVERFLOW = "_overflow"
SERVICE_SHARE, OPERATION_SHARE = 4, 2
"""One service has at most one series in four to itself, and one of its operations one in two of those."""
IDLE_S = 600
"""A series without calls for this long is forgotten, and makes room."""


class SeriesKey(NamedTuple):
    """An operation of a service on an instance (``service.instance.id``; "" where it says none)."""

    service: str
    operation: str
    replica: str


@dataclass(slots=True)  # not frozen: that takes 1 µs for each
class Call:
    """A call to a service of another make."""

    key: SeriesKey
    trace_id: bytes
    end_ns: int
    duration_ns: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ServiceWindow:
    """A series' figures over a window of ``seconds``."""

    key: SeriesKey
    seconds: float
    tally: Tally


Finding = tuple[SeriesKey, Alarm | Recovery]


class ForeignServices:
    """All series. Bounded to ``max_series``, and one overflow series for each service that has others, and for all."""

    def __init__(
        self,
        *,
        max_series: int,
        threshold: float,
        is_alarmed: Callable[[SeriesKey, Signal], bool] = lambda _key, _signal: False,
    ) -> None:
        """``threshold`` in nats. ``is_alarmed`` says whether an incident is open that a new series may go on with."""
        self._max_series = max_series
        self._max_of_service = max(1, max_series // SERVICE_SHARE)
        self._max_of_operation = max(1, self._max_of_service // OPERATION_SHARE)
        self._threshold = threshold
        self._is_alarmed = is_alarmed
        self._series: dict[SeriesKey, ForeignSeries] = {}
        self._of_service: Counter[str] = Counter()
        self._of_operation: Counter[tuple[str, str]] = Counter()
        self._references: dict[SeriesKey, Mapping[str, Any]] = {}
        self._idle: dict[SeriesKey, Tally] = {}
        """What series without calls had counted, the longest without first: kept while there is room."""

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[tuple[SeriesKey, ForeignSeries]]:
        """The series as they are; safe to use from another thread."""
        return iter(list(self._series.items()))

    def totals(self) -> dict[SeriesKey, Tally]:
        """All calls of each series, also of those without any lately; safe to use from another thread."""
        live = {key: series.totals for key, series in self}
        return {**self._idle, **live}

    def adopt(self, references: Mapping[SeriesKey, Mapping[str, Any]]) -> list[SeriesKey]:
        """Take over what was learnt before a restart; return the series of which it is of another make."""
        self._references = {}
        odd: list[SeriesKey] = []
        for key, data in references.items():
            try:
                ForeignSeries(threshold=self._threshold).load(data)
            except (AttributeError, LookupError, TypeError, ValueError):
                odd.append(key)
            else:
                self._references[key] = data
        return odd

    def references(self) -> Iterator[tuple[SeriesKey, Mapping[str, Any]]]:
        """What has been learnt, to be stored, one series at a time: others may come and go meanwhile."""
        yield from list(self._references.items())
        for key, series in list(self._series.items()):
            yield key, series.dump()

    def add(self, calls: Iterable[Call], *, now_ns: int) -> None:
        for call in calls:
            second = plausible_ns(call.end_ns, now_ns) // NS
            self._find(call.key).add(second, call.duration_ns, call.outcome, call.trace_id)

    def get(self, key: SeriesKey) -> ForeignSeries | None:
        return self._series.get(key)

    def _find(self, key: SeriesKey) -> ForeignSeries:
        series = self._series.get(key)
        return self._made(self._capped(key)) if series is None else series

    def _capped(self, key: SeriesKey) -> SeriesKey:
        """The series that takes a key: its own, or the nearest one that may still be made."""
        service, operation, _ = key
        if len(self._series) - self._of_service[OVERFLOW] >= self._max_series and not self._of_service[service]:
            return SeriesKey(OVERFLOW, OVERFLOW, OVERFLOW)
        is_full = len(self._series) >= self._max_series or self._of_service[service] >= self._max_of_service
        if is_full or self._of_operation[service, operation] >= self._max_of_operation:
            is_known = self._of_operation[service, operation] > 0 and not is_full
            return SeriesKey(service, operation if is_known else OVERFLOW, OVERFLOW)
        return key

    def _made(self, key: SeriesKey) -> ForeignSeries:
        if (known := self._series.get(key)) is not None:
            return known
        made = ForeignSeries(threshold=self._threshold)
        made.totals = self._idle.pop(key, made.totals)
        self._series[key] = made
        while self._idle and len(self._series) + len(self._idle) > self._max_series:
            del self._idle[next(iter(self._idle))]
        if (data := self._references.pop(key, None)) is not None:
            made.load(data)
        self._of_service[key.service] += 1
        self._of_operation[key.service, key.operation] += 1
        for signal, stream in made.streams.items():
            if self._is_alarmed(key, signal):
                stream.adopt_alarm()
        return made

    def keys(self, *, service: str) -> list[SeriesKey]:
        """Those of one service's series ("" for all), in order."""
        return sorted(key for key in self._series if service in ("", key.service))

    def window(self, key: SeriesKey, *, window_s: int, now_s: float) -> ServiceWindow | None:
        """Figures of a series; None where there is none any more.

        The window is rounded up to whole panes, and the pane that is being filled is added.
        """
        series = self._series.get(key)
        first = int(now_s) // PANE_S + window_s // -PANE_S
        return None if series is None else ServiceWindow(key, now_s - first * PANE_S, series.over(first_pane=first))

    def judge(self, now_s: float) -> Iterator[Finding]:
        """Judge every second that is over, series by series."""
        for key, series in list(self._series.items()):
            for finding in series.judge(now_s):
                yield key, finding

    def expire(self, now_s: float) -> list[SeriesKey]:
        """Forget all but the totals of series without calls for ``IDLE_S``, so that others find room; return which."""
        idle = [key for key, series in self._series.items() if series.last_second < now_s - IDLE_S]
        for key in idle:
            self._idle[key] = self._series[key].totals
            del self._series[key]
            self._of_service[key.service] -= 1
            self._of_operation[key.service, key.operation] -= 1
        self._of_service, self._of_operation = +self._of_service, +self._of_operation
        return idle

    def forget_references(self) -> None:
        """Of series that did not come back after a restart."""
        self._references.clear()
