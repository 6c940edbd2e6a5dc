"""OTLP/gRPC intake: ``opentelemetry.proto.collector.trace.v1.TraceService``."""

from __future__ import annotations

from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.monitor.intake import Intake

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class TraceServicer:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def Export(self, request: TraceRequest, _context: Any) -> pb.ExportTraceServiceResponse:
        refusal = self._intake.offer(request)
        if refusal.spans == 0:
            return pb.ExportTraceServiceResponse()
        return pb.ExportTraceServiceResponse(
            partial_success=pb.ExportTracePartialSuccess(rejected_spans=refusal.spans, error_message=refusal.reason)
        )


def add_to_server(servicer: TraceServicer, server: grpc.aio.Server) -> None:
    """As the generated function does, but requests are read as ``penstock.otlp.v1`` declares them."""
    export = grpc.unary_unary_rpc_method_handler(
        servicer.Export,
        request_deserializer=TraceRequest.FromString,
        response_serializer=pb.ExportTraceServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Export": export})])
