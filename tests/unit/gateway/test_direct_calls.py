"""ModelInfer from the bytes of its call to those of its answer, without a task between them."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from penstock.gateway.v1.reply_service_pb2 import BatchReply, Reply
from services.common.discovery.peers import Peers
from services.common.http2 import encode, frames
from services.common.tracing import SpanExporter
from services.gateway.domain.lane import Lane
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from services.gateway.domain.tickets import Ticket
from services.gateway.fronts.grpc_server import GrpcServer
from services.gateway.grpc_servicer import SERVICE, InferenceServicer, add_to_server
from services.gateway.inference import Desk
from services.gateway.pending import PendingTable
from services.gateway.spans import RequestSpans
from tests.support.virtual_loop import run
from tests.unit.gateway.requests import infer_request, served

HEAD = encode(
    [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/{SERVICE}/ModelInfer".encode()),
        (b":authority", b"here"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
)


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, _name: str) -> None:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        pass


Transport.__module__ = "uvloop.loop"  # which writes at once


class Scene:
    """A gateway's way from a connection to the queue, and back from a batch of replies."""

    def __init__(self) -> None:
        spans = RequestSpans(SpanExporter(receivers=Peers(), service="t", instance="1", version="0"), sample_ratio=0.0)
        self.pending = PendingTable(spans)
        self.lane = Lane(served(), now=0.0)
        self.lane.observe_consumers(1, now=0.0)
        self.removed: list[int] = []
        desk = Desk(pending=self.pending, spans=spans, queue=self, cancellations=self, recovery_grace_s=10.0)
        desk.routes = RoutingTable({"m": ModelRoutes({"1": self.lane})})
        self.bytes = PendingBytes(100_000)
        server = GrpcServer(max_request_bytes=2**20, pending_bytes=self.bytes)
        models: Any = None
        add_to_server(InferenceServicer(desk=desk, models=models, spans=spans, pending_bytes=self.bytes), server)
        self.connection = server._connect()
        self.transport = Transport()
        self.connection.connection_made(self.transport)
        self.hear(frames.PREFACE + frames.settings({}))
        self._next_id = 1

    def put(self, ticket: Ticket) -> None:
        pass

    def remove(self, ticket: Ticket) -> None:
        self.removed.append(ticket.key)

    def cancel(self, ticket: Ticket) -> None:
        pass

    def hear(self, data: bytes) -> bytes:
        """Receive bytes; return what is said at once."""
        self.transport.written = b""
        self.connection.data_received(data)
        return self.transport.written

    def ask(self, request: Any) -> bytes:
        message = request.SerializeToString()
        body = b"\0" + len(message).to_bytes(4, "big") + message
        stream_id, self._next_id = self._next_id, self._next_id + 2
        head = frames.pack_head(0, len(HEAD), frames.HEADERS, frames.END_HEADERS, stream_id) + HEAD
        return self.hear(head + frames.pack_head(0, len(body), frames.DATA, frames.END_STREAM, stream_id) + body)

    def answer(self) -> bytes:
        """Answer all that is pending; return what is said at once."""
        self.transport.written = b""
        replies = [Reply(request_key=ticket.key, response=b"the answer", rows=1) for ticket in self.pending.unsettled()]
        self.pending.settle_batch(BatchReply(replies=replies, batch_rows=len(replies)), self.lane)
        return self.transport.written


def test_a_call_is_answered_as_the_reply_comes() -> None:
    async def scenario() -> None:
        scene = Scene()
        assert scene.ask(infer_request()) == b""
        assert len(scene.pending) == 1
        said = scene.answer()
        assert b"\0\0\0\0\x0athe answer" in said
        assert not scene.connection.streams
        assert scene.lane.statistics.success.count == 1

    run(scenario())


def test_a_refusal_is_said_at_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        assert b"unknown model" in scene.ask(infer_request(model="x"))
        assert b"no inference.ModelInferRequest" in scene.hear(
            frames.pack_head(0, len(HEAD), frames.HEADERS, frames.END_HEADERS, 3)
            + HEAD
            + frames.pack_head(0, 6, frames.DATA, frames.END_STREAM, 3)
            + b"\0\0\0\0\1\xff"
        )
        assert not scene.connection.streams
        assert not scene.pending.unsettled()

    run(scenario())


def test_a_caller_that_leaves_withdraws_its_request() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.ask(infer_request())
        scene.hear(frames.rst_stream(1, frames.ErrorCode.CANCEL))
        assert scene.removed == [1]
        assert len(scene.pending) == 0
        assert scene.answer() == b""
        assert scene.lane.statistics.failures["CANCELED"].count == 1

    run(scenario())


@pytest.mark.parametrize("ends", ["answered", "left"])
def test_a_request_leaves_nothing_to_the_garbage_collector(ends: str) -> None:
    async def scenario() -> None:
        scene = Scene()

        def once(number: int) -> None:
            scene.ask(infer_request())
            if ends == "answered":
                scene.answer()
            else:
                scene.hear(frames.rst_stream(number * 2 + 1, frames.ErrorCode.CANCEL))

        once(0)
        gc.collect()
        gc.disable()
        try:
            for number in range(1, 20):
                once(number)
            left = gc.collect()
        finally:
            gc.enable()
        assert len(scene.pending) == 0
        assert left < 19

    run(scenario())


def test_requests_in_pieces_hold_their_bytes_until_they_end_however_that_is() -> None:
    async def scenario() -> None:
        scene = Scene()
        body = b"\0" + (20_000).to_bytes(4, "big") + bytes(10_000)
        for stream_id in (1, 3, 5):
            scene.hear(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, HEAD))
            scene.hear(frames.frame(frames.DATA, 0, stream_id, body))
        assert scene.bytes.held == 3 * len(body)
        scene.hear(frames.rst_stream(1, frames.ErrorCode.CANCEL))
        assert scene.bytes.held == 2 * len(body)
        wrong = bytes(16_000)
        scene.hear(frames.frame(frames.DATA, frames.END_STREAM, 3, wrong))
        assert scene.bytes.held == len(body)
        scene.bytes.held += 90_000
        said = scene.hear(frames.frame(frames.DATA, 0, 5, body))
        assert b"Exceeds maximum pending bytes" in said
        assert b"retry-after" in said
        assert (scene.bytes.held, scene.bytes.refused) == (90_000, 1)

    run(scenario())
