"""A model process in miniature: reads one lane of a real Redis and answers over ReplyService, in threads of its own."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import redis
from tritonclient.grpc import service_pb2 as pb

from penstock.gateway.v1.payload_service_pb2 import FetchRequest
from penstock.gateway.v1.payload_service_pb2_grpc import PayloadServiceStub
from penstock.gateway.v1.reply_service_pb2 import BatchReply, ConnectRequest, Handover, Hello, Refusal, Reply
from penstock.gateway.v1.reply_service_pb2_grpc import ReplyServiceStub
from services.common import lanes
from services.common.serving import CHANNEL_OPTIONS

Answer = Callable[[lanes.Entry, Any], Reply]
_names = itertools.count(1)


def identity(entry: lanes.Entry, request: Any) -> Reply:
    """Every input comes back under the name OUTPUT<i>, in order."""
    version = request.model_version or "1"
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    wanted = {output.name for output in request.outputs}
    for at, tensor in enumerate(request.inputs):
        name = f"OUTPUT{at}"
        if not wanted or name in wanted:
            response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
            response.raw_output_contents.append(request.raw_input_contents[at])
    return Reply(response=response.SerializeToString(), rows=entry.envelope.rows, attempt=entry.attempt)


class FakeWorker:
    """Serves one model version as one consumer.

    ``answer`` makes the reply to a request (its key is filled in).
    ``seen`` keeps the entries read, ``cancelled`` the keys that the gateway took back, ``receipts`` the receipts.
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: str = "1",
        *,
        answer: Answer = identity,
        max_batch: int = 64,
        priorities: int = 0,
        takes_handovers: bool = False,
    ) -> None:
        self.consumer = f"fake-{next(_names)}"
        self.keys = lanes.LaneKeys(model, version)
        self.streams = self.keys.streams(priorities)
        self.answer = answer
        self.is_acknowledging = True
        self.seen: list[lanes.Entry] = []
        self.cancelled: list[int] = []
        self.receipts: list[int] = []
        self.takes_handovers = takes_handovers
        self.on_handover: Callable[[Handover, _Link], None] = _answer_handover
        self.links: dict[str, _Link] = {}
        self._url = url
        self._max_batch = max_batch
        self._stop = threading.Event()
        self._hold = threading.Event()
        self._is_held = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._renew, self._work)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for link in self.links.values():
            link.close()
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self._url) as client:
            client.zrem(self.keys.leases, self.consumer)

    def pause(self) -> None:
        """Read the lane no more; returns when nothing is being read."""
        self._is_held.clear()
        self._hold.set()
        self._is_held.wait(5)

    def resume(self) -> None:
        self._hold.clear()

    def _renew(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            while not self._stop.wait(0.1):
                with contextlib.suppress(redis.RedisError):
                    client.zadd(self.keys.leases, {self.consumer: int(time.time() * 1_000) + lanes.LEASE_MS})

    def _work(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            while not self._stop.is_set():
                if self._hold.is_set():
                    self._is_held.set()
                    time.sleep(0.005)
                    continue
                try:
                    self._serve_batch(client)
                except redis.ResponseError:
                    for stream in self.streams:
                        with contextlib.suppress(redis.RedisError):
                            client.xgroup_create(stream, lanes.GROUP, "0", mkstream=True)
                except redis.RedisError:
                    time.sleep(0.02)

    def _serve_batch(self, client: redis.Redis) -> None:
        found = client.xreadgroup(
            lanes.GROUP, self.consumer, dict.fromkeys(self.streams, ">"), count=self._max_batch, block=50
        )
        read = [
            (stream, entry_id, lanes.decode(fields)) for stream, entries in found or [] for entry_id, fields in entries
        ]
        if not read:
            return
        start_ns = time.time_ns()
        self.seen += [entry for _, _, entry in read]
        by_gateway: dict[str, list[Reply]] = {}
        for _, _, entry in read:
            reply = self.answer(entry, self._request(entry))
            reply.request_key = entry.envelope.request_key
            reply.queue_ns = max(0, start_ns - entry.enqueue_ns)
            by_gateway.setdefault(entry.envelope.reply_address, []).append(reply)
        rows = sum(entry.envelope.rows for _, _, entry in read)
        for at, (address, replies) in enumerate(by_gateway.items()):
            self.link(address).send(
                BatchReply(
                    replies=replies,
                    batch_rows=rows,
                    is_execution_counted=at == 0,
                    batch_start_ns=start_ns,
                    compute_input_ns=1_000,
                    compute_infer_ns=10_000,
                    compute_output_ns=2_000,
                    trace_id=b"t" * 16,
                    span_id=b"s" * 8,
                )
            )
        if self.is_acknowledging:
            for stream, entry_id, _ in read:
                client.xack(stream, lanes.GROUP, entry_id)
                client.xdel(stream, entry_id)

    def _request(self, entry: lanes.Entry) -> Any:
        message = entry.request
        if entry.envelope.payload_bytes:
            link = self.link(entry.envelope.reply_address)
            asked = FetchRequest(gateway_id=entry.envelope.gateway_id, request_key=entry.envelope.request_key)
            message = b"".join(piece.chunk for piece in PayloadServiceStub(link.channel).Fetch(asked))
        return pb.ModelInferRequest.FromString(message)

    def link(self, address: str) -> _Link:
        """The stream to a gateway, opened when first asked for."""
        if address not in self.links:
            self.links[address] = _Link(self, address)
        return self.links[address]


def _answer_handover(handover: Handover, link: _Link) -> None:
    link.answer(handover)


class _Link:
    """One stream to one gateway; ``reconnect`` breaks it and sends what has no receipt again."""

    def __init__(self, worker: FakeWorker, address: str) -> None:
        self.channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.gateway_id = ""
        self._worker = worker
        self._sequence = itertools.count(1)
        self._unconfirmed: dict[int, ConnectRequest] = {}
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._outbox: queue.SimpleQueue[ConnectRequest | None] = queue.SimpleQueue()
        worker = self._worker
        hello = Hello(
            consumer=worker.consumer,
            model=worker.keys.model,
            version=worker.keys.version,
            takes_handovers=worker.takes_handovers,
        )
        self._outbox.put(ConnectRequest(hello=hello))
        for message in self._unconfirmed.values():
            self._outbox.put(message)
        outbox = self._outbox
        self._call = ReplyServiceStub(self.channel).Connect(iter(outbox.get, None))
        self._reader = threading.Thread(target=self._read, args=(self._call,), daemon=True)
        self._reader.start()

    def send(self, batch: BatchReply) -> None:
        with self._lock:
            if not self._reader.is_alive():  # the gateway left, and another one may answer there now
                self._sequence = itertools.count(1)
                self._unconfirmed.clear()
                self._open()
            batch.sequence = next(self._sequence)
            message = ConnectRequest(batch_reply=batch)
            self._unconfirmed[batch.sequence] = message
            self._outbox.put(message)

    def answer(self, handover: Handover) -> None:
        """Answer a request that was handed over."""
        envelope = handover.envelope
        entry = lanes.Entry(envelope, handover.request, handover.traceparent, "", handover.enqueue_ns, 0)
        reply = self._worker.answer(entry, pb.ModelInferRequest.FromString(handover.request))
        reply.request_key = envelope.request_key
        self.send(BatchReply(replies=[reply], batch_rows=envelope.rows, is_execution_counted=True, span_id=b"s" * 8))

    def refuse(self, handover: Handover) -> None:
        self._outbox.put(ConnectRequest(refusal=Refusal(request_key=handover.envelope.request_key)))

    def resend_all(self, messages: list[ConnectRequest]) -> None:
        """Send messages once more, as after a lost receipt."""
        for message in messages:
            self._outbox.put(message)

    def unconfirmed(self) -> list[ConnectRequest]:
        return list(self._unconfirmed.values())

    def reconnect(self) -> None:
        with self._lock:
            self._break()
            self._open()

    def close(self) -> None:
        self._break()
        self.channel.close()

    def _break(self) -> None:
        self._outbox.put(None)
        self._call.cancel()
        self._reader.join()

    def _read(self, call: Iterator[Any]) -> None:
        with contextlib.suppress(grpc.RpcError):
            for message in call:
                match message.WhichOneof("message"):
                    case "welcome":
                        self.gateway_id = message.welcome.gateway_id
                    case "handover":
                        self._worker.on_handover(message.handover, self)
                    case "cancellation":
                        self._worker.cancelled += message.cancellation.request_keys
                    case "receipt":
                        self._worker.receipts.append(message.receipt.sequence)
                        for sequence in list(self._unconfirmed):
                            if sequence <= message.receipt.sequence:
                                self._unconfirmed.pop(sequence, None)
