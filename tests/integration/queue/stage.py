"""A gateway's and model processes' halves of the queue in one process, on a real Redis behind relays that cut."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2

from penstock.gateway.v1.reply_service_pb2 import BatchReply, Reply
from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.discovery.peers import Peers
from services.common.errors import CancelledByCallerError, PenstockError, UnavailableError
from services.common.lanes import LaneKeys
from services.common.redis_masters import RedisMasters
from services.common.status import code_of
from services.common.tracing import SpanExporter
from services.gateway.adapters.lane_watch import LaneWatch
from services.gateway.adapters.lane_writer import LaneWriter
from services.gateway.adapters.ticket_packer import TicketPacker
from services.gateway.domain.lane import Lane
from services.gateway.domain.routing import ModelRoutes, RoutingTable
from services.gateway.domain.tickets import Ticket
from services.gateway.grpc_servicer import GrpcInfer
from services.gateway.inference import Desk
from services.gateway.pending import PendingTable
from services.gateway.spans import RequestSpans
from services.inference.domain.batching import BatchPolicy
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import Execution, Pick, execute
from services.inference.model_process.redis_lane import RedisLane
from services.inference.model_process.worker import BatchReport, Settled, Worker
from tests.support.redis_relay import RedisRelay
from tests.support.redis_server import RedisServer
from tests.unit.gateway.requests import infer_request, served

KEYS = LaneKeys("m", "1")
MAX_ATTEMPTS = 3
PRIORITIES = 2
_SIGNATURE = Signature(
    (TensorSpec("INPUT0", "FP32", (-1, 4)),), (TensorSpec("OUTPUT0", "FP32", (-1, 4)),), is_batchable=True
)
_TIMEOUT_US = 600_000_000


class Doubler:
    """The model."""

    signature = _SIGNATURE
    device = "cpu"

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"OUTPUT0": inputs["INPUT0"] * 2}


class Gateway:
    """Enqueues requests, each with a number of its own, and notes how each of them ended: once."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        exporter = SpanExporter(receivers=Peers(), service="test", instance="1", version="0")
        self._spans = RequestSpans(exporter, sample_ratio=0.0)
        self.pending = PendingTable(self._spans)
        self.relay = RedisRelay(redis.socket, folder / "gateway.sock", on_cut=self._lose)
        packer = TicketPacker(gateway_id="g", inline_limit_bytes=2**20)
        packer.reply_address = "nowhere"
        masters = RedisMasters(self.relay.url)
        self._watch = LaneWatch(masters)
        self.writer = LaneWriter(functools.partial(masters.open_for, ""), self.pending, packer)
        now = asyncio.get_running_loop().time()
        version = served(max_attempts=MAX_ATTEMPTS, priority_levels=PRIORITIES, default_timeout_us=_TIMEOUT_US)
        self._lane = Lane(version, now=now)
        self.desk = Desk(
            pending=self.pending, spans=self._spans, queue=self.writer, cancellations=self, recovery_grace_s=_TIMEOUT_US
        )
        self.desk.routes = RoutingTable({"m": ModelRoutes({"1": self._lane})})
        self._numbers = itertools.count(1)
        self.tickets: dict[int, Ticket] = {}
        self.poison: set[int] = set()
        self.withdrawn: set[int] = set()
        self.cuts = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.relay.start()
        self._tasks += [asyncio.create_task(self.writer.run()), asyncio.create_task(self._look())]

    async def _look(self) -> None:
        """Look for what Redis has no longer, as a gateway does twice a second."""
        while True:
            sent = self.pending.long_sent(before_ns=time.time_ns())
            entries = [(one.stream, one.entry_id) for one in sent]
            sighting = await self._watch.look([], entries)
            if sighting is not None:
                for ticket, (stream, entry_id), is_gone in zip(sent, entries, sighting.are_gone, strict=True):
                    if is_gone and ticket.key in self.pending and ticket.entry_id == entry_id:
                        self.writer.lose(stream)
            await asyncio.sleep(0.02)

    async def ask(self, *, priority: int, is_poison: bool) -> None:
        key = next(self._numbers)
        if is_poison:
            self.poison.add(key)
        tensor = np.full((1, 4), key, np.float32).tobytes()
        request = infer_request(("INPUT0", "FP32", [1, 4], tensor), id=str(key))
        request.parameters["priority"].int64_param = priority
        self.tickets[key] = self.desk.admit(
            request.SerializeToString(),
            lambda _: request,
            self._spans.arrive(GrpcInfer()),
            caller="somebody",
            time_left_s=None,
            outcome=asyncio.get_running_loop().create_future(),
        )

    async def withdraw(self, key: int) -> None:
        if not self.tickets[key].outcome.done():
            self.withdrawn.add(key)
            self.desk.withdraw(self.tickets[key])

    def cancel(self, ticket: Ticket) -> None:
        """Model processes don't hear of it."""

    def take_replies(self, settled: Sequence[Settled]) -> None:
        replies = [
            Reply(
                request_key=one.delivery.entry.envelope.request_key,
                code=code_of(one.outcome.error).value[0] if one.outcome.error else 0,
                message=one.outcome.error.message if one.outcome.error else "",
                reason=one.outcome.error.reason if one.outcome.error else "",
                response=bytes(one.outcome.response),
            )
            for one in settled
        ]
        self.pending.settle_batch(BatchReply(replies=replies), self._lane)

    def check(self, key: int, *, deaths: int) -> None:
        """Make sure that a request ended as it should; ``deaths`` is how many model processes died in all."""
        error = self.tickets[key].outcome.exception()
        if key in self.withdrawn:
            assert isinstance(error, CancelledByCallerError)
        elif error is None:
            answer = service_pb2.ModelInferResponse.FromString(self.tickets[key].outcome.result())
            assert np.frombuffer(answer.raw_output_contents[0], "f4").tolist() == [2.0 * key] * 4
            assert key not in self.poison
        else:
            assert isinstance(error, PenstockError)
            assert error.reason == "POISON_MESSAGE", error
            assert deaths >= MAX_ATTEMPTS

    def _lose(self) -> None:
        self.cuts += 1
        asyncio.get_running_loop().call_soon(self.relay.mend)

    async def close(self) -> None:
        for ticket in self.tickets.values():
            ticket.outcome.cancel()
        await _end(self._tasks)
        await self._watch.close()
        await self.relay.close()


@dataclass
class ModelProcess:
    """One consumer with a worker; it dies when its relay is cut, or of a poisonous request."""

    name: str
    redis: RedisServer
    folder: Path
    gateway: Gateway
    runs: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.relay = RedisRelay(self.redis.socket, self.folder / f"{self.name}.sock", on_cut=self._die)
        self.lane = RedisLane(self.relay.url, KEYS, consumer=self.name, priority_levels=PRIORITIES)
        self._encoder = Encoder(model="m", version="1", signature=_SIGNATURE)
        self._worker = Worker(
            self.lane,
            self,
            executor=self,
            decoder=Decoder(model="m", signature=_SIGNATURE),
            policy=BatchPolicy(4, 0.0),
            max_attempts=MAX_ATTEMPTS,
            observer=self,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self.is_dead = self.has_left = False

    async def start(self) -> None:
        await self.relay.start()
        self._tasks.append(asyncio.create_task(self._serve()))

    async def _serve(self) -> None:
        await self.lane.join(asyncio.Event())
        self._tasks += [asyncio.create_task(self.lane.acknowledge()), asyncio.create_task(self.lane.keep())]
        await self._worker.serve()

    def _die(self) -> None:
        self.is_dead = True
        for task in self._tasks:
            task.cancel()

    async def leave(self) -> None:
        """Drain, as at SIGTERM."""
        self.has_left = True
        with contextlib.suppress(asyncio.CancelledError):  # it may die meanwhile
            await self._worker.stop()
            await self._tasks[0]
        self.lane.leave()
        await self.close()

    async def close(self) -> None:
        await _end(self._tasks)
        await self.lane.close()
        await self.relay.close()

    async def run(self, pick: Pick) -> Execution:
        batch = pick()
        keys = [int(one.request_id) for one in batch]
        self.runs.update(keys)
        if self.gateway.poison.intersection(keys):
            self.relay.cut()
            await asyncio.Event().wait()
        return execute(Doubler(), self._encoder, batch, is_batchable=True)

    def is_gone(self, _envelope: Envelope) -> bool:
        return False

    def is_cancelled(self, _envelope: Envelope) -> bool:
        return False

    async def fetch(self, _envelope: Envelope) -> bytes:
        raise UnavailableError("all requests are in the lane")

    def reply(self, settled: Sequence[Settled], _report: BatchReport | None) -> None:
        if not self.is_dead:
            self.gateway.take_replies(settled)
            self.lane.settle([one.delivery for one in settled])

    def batch_began(self, requests: int, start_ns: int) -> None: ...

    def batch_ended(self, report: BatchReport) -> None: ...

    def refused(self, settled: Sequence[Settled]) -> None: ...


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
