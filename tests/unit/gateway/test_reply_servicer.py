"""The last receipts of a gateway that stops."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.gateway.v1.reply_service_pb2 import ConnectResponse, Hello
from services.common.tracing import SpanExporter
from services.gateway.pending import PendingTable
from services.gateway.reply_servicer import ReplyServicer, Stream, Worker
from services.gateway.spans import RequestSpans
from tests.support import virtual_loop


class Context:
    def __init__(self) -> None:
        self.written: list[ConnectResponse] = []

    async def write(self, message: ConnectResponse) -> None:
        self.written.append(message)


class BrokenContext(Context):
    async def write(self, message: ConnectResponse) -> None:
        raise asyncio.InvalidStateError("the stream is broken")


class StalledContext(Context):
    async def write(self, message: ConnectResponse) -> None:
        await asyncio.Event().wait()


def test_streams_that_are_broken_or_stalled_keep_no_receipt_from_the_others() -> None:
    async def scenario() -> None:
        exporter = SpanExporter(endpoint="", service="test", instance="1", version="0")
        pending = PendingTable(RequestSpans(exporter, sample_ratio=0.0))
        servicer = ReplyServicer(
            gateway_id="g", pending=pending, find_lane=lambda *_: None, on_taken_back=lambda _: None
        )
        contexts: list[Any] = [BrokenContext(), StalledContext(), Context()]
        for number, context in enumerate(contexts):
            worker = servicer._workers[str(number)] = Worker(Hello(consumer=str(number)))
            worker.streams.append(Stream(worker, context))
            worker.streams[0].owe_receipt()
        async with asyncio.timeout(5):
            await servicer.flush()
        assert [message.HasField("receipt") for message in contexts[2].written] == [True]

    virtual_loop.run(scenario())
