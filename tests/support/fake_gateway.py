"""A gateway as model processes see it: puts requests into a lane, takes the replies over gRPC."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from tritonclient.grpc import service_pb2

from penstock.gateway.v1 import payload_service_pb2 as payload_pb
from penstock.gateway.v1 import reply_service_pb2 as pb
from penstock.gateway.v1.payload_service_pb2_grpc import add_PayloadServiceServicer_to_server
from penstock.gateway.v1.reply_service_pb2_grpc import add_ReplyServiceServicer_to_server
from penstock.queue.v1.envelope_pb2 import Envelope
from services.common import lanes
from services.common.lanes import Entry, LaneKeys


def infer_request(array: NDArray[np.float32], *, name: str = "INPUT0", request_id: str = "") -> bytes:
    """A serialised ModelInferRequest of one FP32 tensor."""
    request = service_pb2.ModelInferRequest(id=request_id)
    tensor = request.inputs.add(name=name, datatype="FP32")
    tensor.shape.extend(array.shape)
    request.raw_input_contents.append(array.astype("<f4").tobytes())
    return bytes(request.SerializeToString())


def output_of(reply: pb.Reply) -> NDArray[np.float32]:
    """The first output of a successful reply."""
    assert reply.code == 0, (reply.code, reply.reason, reply.message)
    response = service_pb2.ModelInferResponse.FromString(reply.response)
    return np.frombuffer(response.raw_output_contents[0], "<f4").reshape(response.outputs[0].shape)


@dataclass
class FakeGateway:
    """Serves ReplyService and PayloadService on a free port. ``keys`` are those of the lane that requests go to."""

    redis: Redis
    keys: LaneKeys
    gateway_id: str = "gateway-1"
    port: int = 0
    gives_receipts: bool = True
    hellos: list[pb.Hello] = field(default_factory=list)
    batches: list[pb.BatchReply] = field(default_factory=list)
    replies: dict[int, list[pb.Reply]] = field(default_factory=dict)
    responses: dict[int, list[pb.StreamResponse]] = field(default_factory=dict)
    """Of streams, by request."""
    payloads: dict[int, bytes] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._settled = asyncio.Condition()
        self._streams: list[Any] = []
        self._writing = asyncio.Lock()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Self:
        self._server = server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_ReplyServiceServicer_to_server(self, server)
        add_PayloadServiceServicer_to_server(self, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        return self

    async def stop(self) -> None:
        """Go away as a killed gateway does."""
        assert self._server is not None
        await self._server.stop(None)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def Connect(self, _messages: Any, context: Any) -> None:
        hello = await context.read()
        self.hellos.append(hello.hello)
        await context.write(pb.ConnectResponse(welcome=pb.Welcome(gateway_id=self.gateway_id)))
        self._streams.append(context)
        while (message := await context.read()) is not grpc.aio.EOF:
            if message.HasField("refusal"):
                self.refused.append(message.refusal.request_key)
                continue
            if message.HasField("stream_response"):
                sequence = message.stream_response.sequence
                await self._take_response(message.stream_response)
            else:
                sequence = message.batch_reply.sequence
                await self._take(message.batch_reply)
            if self.gives_receipts:
                receipt = pb.Receipt(sequence=sequence)
                await self._write(context, pb.ConnectResponse(receipt=receipt))

    async def Fetch(self, request: payload_pb.FetchRequest, context: Any) -> AsyncIterator[payload_pb.FetchResponse]:
        if request.request_key not in self.payloads:
            await context.abort(grpc.StatusCode.NOT_FOUND, "settled")
        content = self.payloads[request.request_key]
        for at in range(0, len(content), 100_000):
            yield payload_pb.FetchResponse(chunk=content[at : at + 100_000])

    async def _take(self, batch: pb.BatchReply) -> None:
        self.batches.append(batch)
        for reply in batch.replies:
            self.replies.setdefault(reply.request_key, []).append(reply)
        async with self._settled:
            self._settled.notify_all()

    async def _take_response(self, response: pb.StreamResponse) -> None:
        self.responses.setdefault(response.request_key, []).append(response)
        async with self._settled:
            self._settled.notify_all()

    async def responses_to(self, key: int, count: int, *, timeout_s: float = 20.0) -> list[pb.StreamResponse]:
        """Wait until a stream has so many responses; all it has then."""
        async with asyncio.timeout(timeout_s), self._settled:
            await self._settled.wait_for(lambda: len(self.responses.get(key, ())) >= count)
        return self.responses[key]

    async def consume(self, key: int, responses: int) -> None:
        """Tell the process that connected last how far a stream's caller is."""
        news = pb.Consumption(request_key=key, responses=responses)
        await self._write(self._streams[-1], pb.ConnectResponse(consumption=news))

    async def cancel(self, *keys: int) -> None:
        """Tell all connected processes that callers left."""
        for stream in self._streams:
            await self._write(stream, pb.ConnectResponse(cancellation=pb.Cancellation(request_keys=keys)))

    async def _write(self, stream: Any, message: pb.ConnectResponse) -> None:
        async with self._writing:  # of a stream of grpc.aio only one at a time
            await stream.write(message)

    async def hand_over(self, request: bytes, *, rows: int = 1) -> int:
        """Give one request to the process that connected last, past the lane; returns its key."""
        key, now_ns = next(self._numbers), time.time_ns()
        handover = pb.Handover(
            traceparent=f"00-{key:032x}-{key:016x}-00",
            enqueue_ns=now_ns,
            deadline_ns=now_ns + 30 * 10**9,
            envelope=Envelope(request_key=key, rows=rows),
            request=request,
        )
        await self._write(self._streams[-1], pb.ConnectResponse(handover=handover))
        return key

    async def send(
        self,
        request: bytes,
        *,
        rows: int = 1,
        timeout_s: float = 30.0,
        payload_bytes: int = 0,
        attempt: int = 1,
        is_sampled: bool = False,
        priority: int = 0,
    ) -> int:
        """Enqueue one request; returns its key."""
        key, now_ns = next(self._numbers), time.time_ns()
        envelope = Envelope(
            request_key=key,
            gateway_id=self.gateway_id,
            reply_address=f"127.0.0.1:{self.port}",
            rows=rows,
            payload_bytes=payload_bytes,
            is_sampled=is_sampled,
            priority=priority,
        )
        entry = Entry(
            envelope=envelope,
            request=request,
            traceparent=f"00-{key:032x}-{key:016x}-{is_sampled:02x}",
            tracestate="",
            enqueue_ns=now_ns,
            deadline_ns=now_ns + int(timeout_s * 1e9),
            attempt=attempt,
        )
        await self.redis.xadd(self.keys.stream(priority), lanes.encode(entry))
        return key

    async def reply_to(self, key: int, *, timeout_s: float = 20.0) -> pb.Reply:
        """The first reply to a request."""
        async with asyncio.timeout(timeout_s), self._settled:
            await self._settled.wait_for(lambda: key in self.replies)
        return self.replies[key][0]

    async def ask(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Send one request, wait for its output."""
        return output_of(await self.reply_to(await self.send(infer_request(array), rows=len(array))))
