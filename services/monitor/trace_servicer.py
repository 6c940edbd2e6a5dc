"""OTLP/gRPC intake: ``opentelemetry.proto.collector.trace.v1.TraceService``."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from services.monitor.intake import Intake


class TraceServicer(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def Export(self, request: pb.ExportTraceServiceRequest, _context: Any) -> pb.ExportTraceServiceResponse:
        refusal = self._intake.offer(request)
        if refusal.spans == 0:
            return pb.ExportTraceServiceResponse()
        return pb.ExportTraceServiceResponse(
            partial_success=pb.ExportTracePartialSuccess(rejected_spans=refusal.spans, error_message=refusal.reason)
        )
