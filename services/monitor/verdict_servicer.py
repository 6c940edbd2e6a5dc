"""``penstock.monitor.v1.VerdictService``: whether a version may replace another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from penstock.monitor.v1 import verdict_service_pb2 as pb
from penstock.monitor.v1 import verdict_service_pb2_grpc
from services.common import names
from services.common.errors import InvalidArgumentError
from services.monitor import paging, verdict_messages
from services.monitor.domain.verdict.sample import Pairs
from services.monitor.verdict_keeper import VerdictKeeper

_MAX_PAIRS = 1_000_000
_MAX_REASON = 500


class VerdictServicer(verdict_service_pb2_grpc.VerdictServiceServicer):
    def __init__(self, keeper: VerdictKeeper, *, clock: Callable[[], int]) -> None:
        self._keeper = keeper
        self._clock = clock

    async def CompareVersions(self, request: pb.CompareVersionsRequest, _context: Any) -> pb.CompareVersionsResponse:
        question = verdict_messages.question_of(request, now_ns=self._clock())
        found = await self._keeper.begin(question, verdict_messages.fingerprint_of(request))
        return pb.CompareVersionsResponse(comparison=found)

    async def GetComparison(self, request: pb.GetComparisonRequest, _context: Any) -> pb.GetComparisonResponse:
        return pb.GetComparisonResponse(comparison=await self._keeper.get(_id(request.name)))

    async def ListComparisons(self, request: pb.ListComparisonsRequest, _context: Any) -> pb.ListComparisonsResponse:
        model = names.model_id(request.model) if request.model else ""
        size, question = paging.size_of(request.page_size), ("comparisons", model)
        begin, _, after = paging.cursor_of(request.page_token, *question).partition("\n")
        found = await self._keeper.newest(model=model, before=(int(begin), after) if begin else None, limit=size + 1)
        following = paging.token(f"{found[size - 1][0]}\n{found[size - 1][1]}", *question) if len(found) > size else ""
        response = pb.ListComparisonsResponse(next_page_token=following)
        for _, _, comparison in found[:size]:
            added = response.comparisons.add()
            added.CopyFrom(comparison)
            added.ClearField("evidence")
        return response

    async def WatchComparison(
        self, request: pb.WatchComparisonRequest, context: Any
    ) -> AsyncIterator[pb.WatchComparisonResponse]:
        comparison_id = _id(request.name)
        await context.send_initial_metadata(())  # Tells the watcher at once that its watch stands.
        async with aclosing(self._keeper.watch(comparison_id)) as comparisons:
            async for comparison in comparisons:
                yield pb.WatchComparisonResponse(comparison=comparison)

    async def StopComparison(self, request: pb.StopComparisonRequest, _context: Any) -> pb.StopComparisonResponse:
        if len(request.reason) > _MAX_REASON:
            raise InvalidArgumentError(
                f"got a reason of {len(request.reason)} characters, expected at most {_MAX_REASON}"
            )
        return pb.StopComparisonResponse(comparison=await self._keeper.stop(_id(request.name), request.reason))

    async def RecordPairs(self, request: pb.RecordPairsRequest, _context: Any) -> pb.RecordPairsResponse:
        parts = (request.candidate_failed_count, request.baseline_failed_count, request.differing_count)
        largest = request.largest_batch_count or 1
        if (
            not 1 <= request.pair_count <= _MAX_PAIRS
            or min(parts) < 0
            or sum(parts) > request.pair_count
            or largest < 1
        ):
            raise InvalidArgumentError(
                f"got {request.pair_count} pairs, {parts} of them failed or differing, at most {largest} in a batch; "
                f"expected 1 to {_MAX_PAIRS} pairs, no more failed or differing ones, and a batch of 1 or more"
            )
        self._keeper.record_pairs(_id(request.name), Pairs(request.pair_count, *parts, largest=largest))
        return pb.RecordPairsResponse()


def _id(name: str) -> str:
    (found,) = names.split(name, "comparisons/*")
    return names.model_id(found)
