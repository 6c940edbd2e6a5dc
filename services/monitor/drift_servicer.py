"""``penstock.monitor.v1.DriftService``: how far what is watched is from what is normal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from penstock.monitor.v1 import drift_service_pb2 as pb
from penstock.monitor.v1 import drift_service_pb2_grpc
from services.common import names
from services.monitor import drift_messages, paging
from services.monitor.analysis import Analysis
from services.monitor.domain.blocks import NS


class DriftServicer(drift_service_pb2_grpc.DriftServiceServicer):
    def __init__(self, analysis: Analysis, *, clock: Callable[[], int]) -> None:
        self._analysis = analysis
        self._clock = clock

    async def ListDrift(self, request: pb.ListDriftRequest, _context: Any) -> pb.ListDriftResponse:
        model = names.model_id(request.model) if request.model else ""
        detectors = self._analysis.detectors
        versions = sorted(version for version in detectors if model in ("", version[0]))
        page, following = paging.page(versions, tuple, request, "drift", model)
        response = pb.ListDriftResponse(next_page_token=following)
        for version in page:
            quality = self._analysis.quality.get(version)
            accuracy = None if quality is None else quality.watch
            response.versions.append(
                drift_messages.version_drift(*version, detectors[version], accuracy, now_s=self._clock() / NS)
            )
            await asyncio.sleep(0)  # Spans come in meanwhile.
        return response
