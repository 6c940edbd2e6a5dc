"""Tells the registry what there are requests for, so that what is wanted is loaded and what isn't makes room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

import grpc

from penstock.registry.v1.registry_service_pb2 import ReportDemandRequest, VersionDemand
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common import names
from services.gateway.domain.lane import Lane

_log = logging.getLogger(__name__)

_PERIOD_S = 0.5
_PAUSE_S = 0.05
"""Between two reports at least, however many requests come for versions without a process."""
_MEMORY_S = 3600.0
_TIMEOUT_S = 2.0
_MOST = 10_000


class DemandReporter:
    """Looks at the lanes twice a second, and reports while a version is asleep: else there is nothing to decide.

    ``clock`` is the event loop's.
    """

    def __init__(self, gateway_id: str, lanes: Callable[[], Iterable[Lane]], *, clock: Callable[[], float]) -> None:
        self._gateway_id = gateway_id
        self._lanes = lanes
        self._clock = clock
        self._wake = asyncio.Event()
        self._told_at: float | None = None

    def hurry(self) -> None:
        """Report soon: a request came for a version without a process."""
        self._wake.set()

    async def run(self, stub: RegistryServiceStub) -> None:
        """Look and report. Runs until cancelled; while the registry is away requests wait."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S - _PAUSE_S):
                    await self._wake.wait()
            await asyncio.sleep(0)  # requests that come in one turn share a report
            self._wake.clear()
            now = self._clock()
            request = self.look(now)
            try:
                if request is not None:
                    await stub.ReportDemand(request, timeout=_TIMEOUT_S)
                    self.note_told(now)
            except grpc.aio.AioRpcError as error:
                _log.debug("the registry does not hear what is wanted: %s", error.details())
                self._told_at = None  # another one may come, that knows nothing
            await asyncio.sleep(_PAUSE_S)

    def note_told(self, now: float) -> None:
        """The registry has heard what there was at a time."""
        self._told_at = now

    def look(self, now: float) -> ReportDemandRequest | None:
        """What there is to report at a time; None: nothing."""
        lanes = [lane for lane in self._lanes() if lane.is_deployed]
        for lane in lanes:
            lane.residence.look(unsettled=lane.unsettled, settled=lane.statistics.settled, now=now)
        if not any(lane.residence.is_asleep or (lane.unsettled and not lane.is_live) for lane in lanes):
            self._told_at = None
            return None
        since = now - _MEMORY_S if self._told_at is None else self._told_at
        used = [lane for lane in lanes if lane.residence.used_at is not None and lane.residence.used_at > since]
        demands = [_demand(lane, now) for lane in sorted(used, key=lambda lane: -lane.unsettled)[:_MOST]]
        return ReportDemandRequest(gateway_id=self._gateway_id, demands=demands) if demands else None


def _demand(lane: Lane, now: float) -> VersionDemand:
    used_at = lane.residence.used_at
    demand = VersionDemand(
        version=names.version_name(lane.version.model, lane.version.version), unsettled_requests=lane.unsettled
    )
    demand.idle_duration.FromNanoseconds(0 if used_at is None else int((now - used_at) * 1e9))
    return demand
