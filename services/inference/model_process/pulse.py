"""Signs of life: that a batch runs still, which its own span tells only when it ends, and that a process stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.common.tracing import SpanExporter, SpanKind, TraceContext

_PERIOD_S = 1.0
"""How often it is told that a batch runs still, from its second such time on."""


class Pulse:
    """Tells of the batch in hand while it runs for long. ``later`` is an event loop's ``call_later``.

    No timer runs while nothing is done.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        model: str,
        constants: bytes,
        later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        now_ns: Callable[[], int],
    ) -> None:
        """``constants`` are encoded attributes of all its spans."""
        self._exporter = exporter
        self._name = f"pulse {model}"
        self._constants = constants
        self._later = later
        self._now_ns = now_ns
        self._since_ns = self._requests = 0
        """When the batch in hand began, and its requests; 0 where there is none."""
        self._began = 0
        """Batches that began since the last look."""
        self._timer: asyncio.TimerHandle | None = None

    def batch_began(self, requests: int, start_ns: int) -> None:
        self._since_ns = start_ns
        self._requests = requests
        self._began += 1
        if self._timer is None and self._exporter.is_enabled:
            self._timer = self._later(_PERIOD_S, self._look)

    def batch_ended(self, start_ns: int) -> None:
        """The next may have begun meanwhile."""
        if self._since_ns == start_ns:
            self._since_ns = 0

    def stop(self) -> None:
        """Say that nothing will follow."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell("stopping", self._now_ns())

    def _look(self) -> None:
        began, self._began = self._began, 0
        self._timer = self._later(_PERIOD_S, self._look) if began or self._since_ns else None
        if self._since_ns:
            running_ns = self._now_ns() - self._since_ns
            if running_ns >= _PERIOD_S * 1e9:
                self._tell("running", self._since_ns, running_ns, self._requests)

    def _tell(self, state: str, start_ns: int, running_ns: int = 0, requests: int = 0) -> None:
        if not self._exporter.is_enabled:
            return
        self._exporter.export(
            self._name,
            TraceContext.new_root(is_sampled=True),
            kind=SpanKind.INTERNAL,
            start_ns=start_ns,
            end_ns=start_ns + running_ns,
            attributes={
                "penstock.replica.state": state,
                "penstock.replica.running_ns": running_ns,
                "penstock.replica.running_requests": requests,
            },
            more=self._constants,
        )
