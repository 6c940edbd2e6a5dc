"""Tells the monitor how two versions answered the same requests, as far as this gateway process saw it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import grpc

from penstock.monitor.v1.verdict_service_pb2 import RecordPairsRequest
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub
from services.gateway.domain.tallies import Tally

_log = logging.getLogger(__name__)

_PERIOD_S = 1.0
_TIMEOUT_S = 2.0


class PairReporter:
    """Tells once a second what there is to tell.

    A count that may have been taken in is never told twice: pairs that are lost cost time, pairs that count twice a
    false verdict. ``ask_another`` turns to the next of several monitors, ``monitors`` is how many there are.
    """

    def __init__(
        self,
        take: Callable[[], Mapping[str, Tally]],
        *,
        monitors: Callable[[], int] = lambda: 1,
        ask_another: Callable[[], None] = lambda: None,
    ) -> None:
        self._take = take
        self._monitors = monitors
        self._ask_another = ask_another

    async def run(self, stub: VerdictServiceStub) -> None:
        """Tell. Runs until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            for comparison, tally in self._take().items():
                await self._tell(stub, _request(comparison, tally))

    async def _tell(self, stub: VerdictServiceStub, request: RecordPairsRequest) -> None:
        for _ in range(max(1, self._monitors())):
            try:
                await stub.RecordPairs(request, timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:  # another monitor has it, or it is over
                    _log.debug("%d pairs of %s are lost: %s", request.pair_count, request.name, error.details())
                    return
                self._ask_another()
            else:
                return


def _request(comparison: str, tally: Tally) -> RecordPairsRequest:
    return RecordPairsRequest(
        name=comparison,
        pair_count=tally.pairs,
        candidate_failed_count=tally.candidate_failed,
        baseline_failed_count=tally.baseline_failed,
        differing_count=tally.differing,
        largest_batch_count=tally.largest_batch,
    )
