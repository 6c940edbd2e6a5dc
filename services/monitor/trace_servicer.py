"""OTLP/gRPC intake: ``opentelemetry.proto.collector.trace.v1.TraceService``."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.common.errors import DeadlineExceededError, InvalidArgumentError
from services.monitor.intake import Intake, Refusal

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"

MAX_MESSAGE_BYTES = 16 << 20
"""Of a request, before and after it is unpacked."""
_AT_ONCE = 64
"""Messages that are received at a time; what comes beyond waits at its sender, so that memory is bounded."""
_MESSAGE_TIMEOUT_S = 10.0


class TraceServicer:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._receiving = asyncio.Semaphore(_AT_ONCE)

    async def Export(self, _requests: Any, context: Any) -> pb.ExportTraceServiceResponse:
        """A unary call, whose message is asked for only when its turn has come."""
        async with self._receiving:
            return response_to(self._intake.offer(request_of(await _message(context))))


async def _message(context: Any) -> bytes:
    """As it came.

    Raises:
        DeadlineExceededError: it takes too long.
        InvalidArgumentError: there is none.
    """
    reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())
    reading.add_done_callback(_retrieve)
    # It ends with its call by itself: gRPC still has the place where the message is to be written.
    await asyncio.wait({reading}, timeout=_MESSAGE_TIMEOUT_S)
    if not reading.done():
        raise DeadlineExceededError(f"the message did not come within {_MESSAGE_TIMEOUT_S:g} s")
    message = reading.result()
    if message is grpc.aio.EOF:
        raise InvalidArgumentError("got no message, expected an ExportTraceServiceRequest")
    return bytes(message)


def _retrieve(reading: asyncio.Future[Any]) -> None:
    """How it ends does not matter to anybody when its call is over."""
    if not reading.cancelled():
        reading.exception()


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
    """As the generated function does, but the servicer reads the request, as it came."""
    export: Any = grpc.stream_unary_rpc_method_handler(
        servicer.Export,
        response_serializer=pb.ExportTraceServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Export": export})])
