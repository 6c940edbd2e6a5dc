"""The last receipts of a gateway that stops, and what it keeps of processes that left."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

from penstock.gateway.v1.reply_service_pb2 import ConnectResponse, Hello
from services.common.discovery.peers import Peers
from services.common.payloads import PayloadStore
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


def make() -> ReplyServicer:
    exporter = SpanExporter(receivers=Peers(), service="test", instance="1", version="0")
    pending = PendingTable(RequestSpans(exporter, sample_ratio=0.0))
    return ReplyServicer(
        gateway_id="g",
        pending=pending,
        find_lane=lambda *_: None,
        on_taken_back=lambda _: None,
        on_broken=lambda _: None,
    )


def test_streams_that_are_broken_or_stalled_keep_no_receipt_from_the_others() -> None:
    async def scenario() -> None:
        servicer = make()
        contexts: list[Any] = [BrokenContext(), StalledContext(), Context()]
        for number, context in enumerate(contexts):
            worker = servicer._workers[str(number)] = Worker(Hello(consumer=str(number)))
            worker.streams.append(Stream(worker, context))
            worker.streams[0].owe_receipt()
        async with asyncio.timeout(5):
            await servicer.flush()
        assert [message.HasField("receipt") for message in contexts[2].written] == [True]

    virtual_loop.run(scenario())


def test_processes_that_left_are_forgotten_though_no_other_one_comes() -> None:
    servicer, now = make(), time.monotonic()
    for consumer, left_at in (("long ago", now - 61), ("just now", now - 1)):
        servicer._workers[consumer] = Worker(Hello(consumer=consumer))
        servicer._workers[consumer].left_at = left_at
    servicer.trim()
    assert list(servicer._workers) == ["just now"]


def test_of_processes_that_were_forgotten_no_file_stays_open() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    servicer, before, kept = make(), open_files(), []
    for number in range(3):
        store = PayloadStore(secrets.token_hex(8), limit_bytes=1 << 20)
        worker = servicer._workers[str(number)] = Worker(Hello(consumer=str(number), payload_store=store.owner_id))
        worker.left_at = time.monotonic() - 61
        kept.append(worker)  # as long as the garbage isn't collected
        store.close()
    assert open_files() == before + 3

    servicer.trim()

    assert open_files() == before
