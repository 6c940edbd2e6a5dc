"""When a model is probed: while nothing waits for it, now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from services.inference.model_process.golden_probe import Judge, ProbeResult

_MOST_SHARE = 0.002
"""Of a process' time that goes into probes: less than what a 99th percentile shows."""
_LONGEST_PERIOD_S = 600.0
"""However long a probe takes: who is silent for three such periods is taken for gone."""
_LONGEST_FORCED_S = _MOST_SHARE * _LONGEST_PERIOD_S
"""No request ever waits for a probe that takes longer."""


class ProbeObserver(Protocol):
    """Whoever tells of probes."""

    def probe_began(self, start_ns: int) -> None: ...

    def probe_ended(self, result: ProbeResult, start_ns: int, end_ns: int) -> None: ...


class Prober:
    """Says when a probe is due, and has it run.

    ``run`` is called between two batches, and never raises. What it gives is judged while the next batch may run.
    """

    def __init__(
        self,
        run: Callable[[], Awaitable[Judge]],
        *,
        period_s: float,
        observer: ProbeObserver,
        now_ns: Callable[[], int],
        takes_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``now_ns`` is Unix time, for spans; ``takes_s`` is how long a probe takes, as far as is known."""
        self._run = run
        self._period_s = period_s
        self._observer = observer
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._takes_s = takes_s
        self._due_at = monotonic()
        """The first one right after the load."""
        self._judging: asyncio.Task[None] | None = None

    def due_in_s(self) -> float:
        """Seconds until the next one; 0 once it is due."""
        return max(0.0, self._due_at - self._monotonic())

    @property
    def is_overdue(self) -> bool:
        """Whether a probe has waited for a period, so that batches have to let it go first. Long ones go on waiting."""
        return self._takes_s <= _LONGEST_FORCED_S and self._monotonic() >= self._due_at + self._period_s

    async def probe(self) -> None:
        """Probe once. The next one comes after a period, or later where this one took long."""
        is_first = self._judging is None
        if self._judging is not None:
            await self._judging
        began, start_ns = self._monotonic(), self._now_ns()
        self._observer.probe_began(start_ns)
        judge = await self._run()
        end_ns, took_s = max(start_ns, self._now_ns()), self._monotonic() - began
        # The first may only tell what was found in the load, which takes no time.
        self._takes_s = max(took_s, self._takes_s) if is_first else took_s
        self._due_at = began + max(self._period_s, min(self._takes_s / _MOST_SHARE, _LONGEST_PERIOD_S))
        self._judging = asyncio.create_task(self._tell(judge, start_ns, end_ns), name="judge a probe")

    async def _tell(self, judge: Judge, start_ns: int, end_ns: int) -> None:
        self._observer.probe_ended(await asyncio.to_thread(judge), start_ns, end_ns)
