"""Spans reach a real OTLP receiver, and one that is away or refuses them does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from services.common.tracing import SpanExporter, SpanKind, TraceContext
from tests.support.ports import free_port


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP receiver of grpcio's; with ``refuses`` it takes nothing."""

    def __init__(self) -> None:
        self.requests: list[pb.ExportTraceServiceRequest] = []
        self.refuses = False
        self._news = asyncio.Event()

    async def Export(self, request: pb.ExportTraceServiceRequest, context: Any) -> pb.ExportTraceServiceResponse:
        self._news.set()
        self.requests.append(request)
        if self.refuses:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no room")
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

    async def wait_for(self, *names: str) -> None:
        while not {*names} <= {*self.names}:
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


def exporter_to(port: int, **options: Any) -> SpanExporter:
    return SpanExporter(endpoint=f"127.0.0.1:{port}", service="penstock-test", instance="i", version="1", **options)


def export(exporter: SpanExporter, name: str, **rest: Any) -> None:
    context = TraceContext.new_root(is_sampled=True)
    exporter.export(name, context, kind=SpanKind.INTERNAL, start_ns=1, end_ns=2, **rest)


async def test_spans_leave_by_themselves_and_the_rest_on_closing() -> None:
    receiver, port = Receiver(), free_port()
    async with receiver.listening(port):
        exporter = exporter_to(port)
        export(exporter, "first")
        await receiver.wait_for("first")
        names = [str(number) for number in range(2_000)]
        for name in names:
            export(exporter, name, attributes={"large": bytes(500)})
        await exporter.close()

    assert receiver.names == ["first", *names]
    resource = receiver.requests[0].resource_spans[0].resource
    told = {one.key: one.value.string_value for one in resource.attributes}
    assert (told["service.name"], told["service.instance.id"]) == ("penstock-test", "i")
    assert told["telemetry.sdk.name"] == "opentelemetry"


async def test_spans_wait_a_little_for_a_receiver_that_starts_or_starts_again() -> None:
    receiver, port = Receiver(), free_port()
    exporter = exporter_to(port)
    export(exporter, "early")
    async with receiver.listening(port):
        await receiver.wait_for("early")
    async with receiver.listening(port):
        export(exporter, "late")
        await receiver.wait_for("late")
        await exporter.close()


async def test_a_receiver_that_is_away_costs_spans_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    exporter = exporter_to(free_port(), max_queued=1_000)
    for number in range(5_000):
        export(exporter, str(number))

    with caplog.at_level(logging.WARNING):
        await exporter.close()

    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        f"spans can't be sent to {exporter.endpoint}, and are dropped"
    ]
    assert exporter.results == {"sent": 0, "dropped": 5_000}


@pytest.mark.parametrize("endpoint", ["localhost", "127.0.0.1:99999"])
async def test_an_endpoint_that_is_none_is_one_that_is_away(endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    exporter = SpanExporter(endpoint=endpoint, service="penstock-test", instance="i", version="1")
    export(exporter, "lost")

    with caplog.at_level(logging.WARNING):
        await exporter.close()

    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        f"spans can't be sent to {endpoint}, and are dropped"
    ]


async def test_no_more_spans_wait_than_allowed() -> None:
    receiver, port = Receiver(), free_port()
    exporter = exporter_to(port, max_queued=1_000)
    for number in range(5_000):
        export(exporter, str(number))
    async with receiver.listening(port):
        await exporter.close()

    assert receiver.names == [str(number) for number in range(1_000)]
    assert exporter.results == {"sent": 1_000, "dropped": 4_000}


async def test_a_receiver_that_refuses_spans_is_offered_the_next(caplog: pytest.LogCaptureFixture) -> None:
    receiver, port = Receiver(), free_port()
    receiver.refuses = True
    async with receiver.listening(port):
        exporter = exporter_to(port)
        with caplog.at_level(logging.WARNING):
            for name in ("refused", "refused too"):
                export(exporter, name)
                await receiver.wait_for(name)
            receiver.refuses = False
            export(exporter, "taken")
            await receiver.wait_for("taken")
            await exporter.close()

    assert [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()] == [
        f"spans can't be sent to {exporter.endpoint}, and are dropped: there is no room (status 8)"
    ]
    assert exporter.results == {"sent": 1, "dropped": 2}


async def test_a_receiver_that_never_answers_does_not_hold_the_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.tracing._LAST_SPANS_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = exporter_to(silent.getsockname()[1])
        export(exporter, "lost")
        await exporter.close()
