"""When a model is probed: while nothing waits for it, now and then."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from services.inference.model_process.golden_probe import Outcome, ProbeResult

_MOST_SHARE = 0.002
"""Of a process' time that goes into probes: less than what a 99th percentile shows."""
_LONGEST_PERIOD_S = 600.0
"""However long a probe takes: who is silent for three such periods is taken for gone."""


class ProbeObserver(Protocol):
    """Whoever tells of probes."""

    def probe_began(self, start_ns: int) -> None: ...

    def probe_ended(self, result: ProbeResult | None, start_ns: int, end_ns: int) -> None: ...


async def left_alone(why: str) -> ProbeResult | None:
    """The outcome for models that can't be probed."""
    return ProbeResult(Outcome.SKIP, detail=why)


class Prober:
    """Says when a probe is due, and has it run.

    ``run`` is called between two batches, and never raises; where it gives None, it wants to be called again at once.
    """

    def __init__(
        self,
        run: Callable[[], Awaitable[ProbeResult | None]],
        *,
        period_s: float,
        observer: ProbeObserver,
        now_ns: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``now_ns`` is Unix time, for spans."""
        self._run = run
        self._period_s = period_s
        self._observer = observer
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._due_at = monotonic()
        """The first one right after the load."""

    def due_in_s(self) -> float:
        """Seconds until the next one; 0 once it is due."""
        return max(0.0, self._due_at - self._monotonic())

    @property
    def is_overdue(self) -> bool:
        """Whether a probe has waited for a period, so that batches have to let it go first."""
        return self._monotonic() >= self._due_at + self._period_s

    async def probe(self) -> None:
        """Probe once. The next one comes after a period, or later where this one took long."""
        began, start_ns = self._monotonic(), self._now_ns()
        self._observer.probe_began(start_ns)
        result = await self._run()
        took_s = self._monotonic() - began
        period_s = max(self._period_s, min(took_s / _MOST_SHARE, _LONGEST_PERIOD_S))
        self._due_at = began + (period_s if result is not None else took_s)
        self._observer.probe_ended(result, start_ns, max(start_ns, self._now_ns()))
