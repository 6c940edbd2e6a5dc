"""An OTLP receiver of grpcio's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans; with ``refuses`` it says that it has no room, with ``is_full`` that it has some in a second, with
    ``leaves`` that it can't now.
    """

    def __init__(self) -> None:
        self.requests: list[pb.ExportTraceServiceRequest] = []
        self.refuses = False
        self.is_full = False
        self.leaves = False
        self._news = asyncio.Event()

    async def Export(self, request: pb.ExportTraceServiceRequest, context: Any) -> pb.ExportTraceServiceResponse:
        self._news.set()
        self.requests.append(request)
        if self.refuses:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no room")
        if self.is_full:
            later = (("retry-after", "1"),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no room now", later)
        if self.leaves:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "it leaves")
        return pb.ExportTraceServiceResponse()

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, server)
        assert server.add_insecure_port(f"127.0.0.1:{port}") == port
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def wait_for(self, *names: str, times: int = 1) -> None:
        while any(self.names.count(name) < times for name in names):
            self._news.clear()
            await self._news.wait()

    @property
    def names(self) -> list[str]:
        return [
            span.name
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
