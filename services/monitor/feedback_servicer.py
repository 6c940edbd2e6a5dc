"""``penstock.monitor.v1.FeedbackService``: what the right answers were."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from penstock.monitor.v1 import feedback_service_pb2 as pb
from penstock.monitor.v1 import feedback_service_pb2_grpc
from services.common import names
from services.common.errors import InvalidArgumentError, PenstockError
from services.monitor import feedback_messages, paging
from services.monitor.domain.quality.book import QualityBook
from services.monitor.domain.quality.labels import Label, LabelOutcome
from services.monitor.feedback_keeper import FeedbackKeeper

MAX_LABELS = 1_000
MAX_REFUSALS = 10
_MAX_REASON = 300


class FeedbackServicer(feedback_service_pb2_grpc.FeedbackServiceServicer):
    def __init__(self, keeper: FeedbackKeeper, book: QualityBook, *, clock: Callable[[], int]) -> None:
        self._keeper = keeper
        self._book = book
        self._clock = clock

    async def RecordFeedback(self, request: pb.RecordFeedbackRequest, _context: Any) -> pb.RecordFeedbackResponse:
        if not 1 <= len(request.labels) <= MAX_LABELS:
            raise InvalidArgumentError(f"got {len(request.labels)} labels, expected 1 to {MAX_LABELS}")
        labels, reasons = dict[int, Label](), dict[int, str]()
        now_ns = self._clock()
        for index, message in enumerate(request.labels):
            try:
                labels[index] = feedback_messages.label_of(message, now_ns=now_ns)
            except PenstockError as error:
                reasons[index] = error.message
        verdicts = await self._keeper.record(list(labels.values())) if labels else []
        self._keeper.labels[LabelOutcome.REFUSED.label] += len(reasons)
        counts = Counter({LabelOutcome.REFUSED: len(reasons)})
        for index, verdict in zip(labels, verdicts, strict=True):
            counts[verdict.outcome] += 1
            if verdict.outcome is LabelOutcome.REFUSED:
                reasons[index] = verdict.reason
        return pb.RecordFeedbackResponse(
            joined_count=counts[LabelOutcome.JOINED],
            pending_count=counts[LabelOutcome.PENDING],
            unknown_count=counts[LabelOutcome.UNKNOWN],
            duplicate_count=counts[LabelOutcome.DUPLICATE],
            refused_count=counts[LabelOutcome.REFUSED],
            refusals=[
                pb.LabelRefusal(index=index, reason=reason[:_MAX_REASON])
                for index, reason in sorted(reasons.items())[:MAX_REFUSALS]
            ],
        )

    async def ListQuality(self, request: pb.ListQualityRequest, _context: Any) -> pb.ListQualityResponse:
        model = names.model_id(request.model) if request.model else ""
        found = self._book.versions(model=model)
        page, following = paging.page(found, lambda one: one[0], request, "quality", model)
        response = pb.ListQualityResponse(next_page_token=following)
        for version, quality in page:
            response.versions.append(feedback_messages.version_quality(version, quality, now_ns=self._clock()))
            await asyncio.sleep(0)  # Spans come in meanwhile.
        return response
