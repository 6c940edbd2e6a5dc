"""OTLP/gRPC intake: ``opentelemetry.proto.collector.trace.v1.TraceService``."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.common.errors import InvalidArgumentError
from services.monitor.intake import Intake, Refusal

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class TraceServicer:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def Export(self, body: bytes, _context: Any) -> pb.ExportTraceServiceResponse:
        return response_to(self._intake.offer(request_of(body)))


def request_of(body: bytes) -> TraceRequest:
    """As ``penstock.otlp.v1`` declares requests.

    Raises:
        InvalidArgumentError: the body is none.
    """
    try:
        return TraceRequest.FromString(body)
    except DecodeError:
        raise InvalidArgumentError(f"{len(body)} bytes are no ExportTraceServiceRequest") from None


def response_to(refusal: Refusal) -> pb.ExportTraceServiceResponse:
    """What a sender is told; it must not send again what was refused."""
    if refusal.spans == 0:
        return pb.ExportTraceServiceResponse()
    return pb.ExportTraceServiceResponse(
        partial_success=pb.ExportTracePartialSuccess(rejected_spans=refusal.spans, error_message=refusal.reason)
    )


def add_to_server(servicer: TraceServicer, server: grpc.aio.Server) -> None:
    """As the generated function does, but the servicer gets requests as they came."""
    export: Any = grpc.unary_unary_rpc_method_handler(
        servicer.Export,
        response_serializer=pb.ExportTraceServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Export": export})])
