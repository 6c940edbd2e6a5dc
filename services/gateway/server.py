"""What the gateway starts, and in which order it stops: each server before what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time

import grpc
from grpc_health.v1 import health
from prometheus_client import CollectorRegistry, generate_latest

import penstock
from penstock.gateway.v1.payload_service_pb2_grpc import add_PayloadServiceServicer_to_server
from penstock.gateway.v1.reply_service_pb2_grpc import add_ReplyServiceServicer_to_server
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common import redis_connection, serving
from services.common.boundary import translated
from services.common.errors import UnavailableError
from services.common.http2 import Limits
from services.common.lanes import LEASE_MS
from services.common.memory import keep_freed_memory
from services.common.payloads import Draft, PayloadStore
from services.common.settings import SuiteSettings
from services.common.tracing import SpanExporter
from services.common.watch import ResourceCache
from services.gateway.adapters.lane_watch import LaneWatch
from services.gateway.adapters.lane_writer import LaneWriter
from services.gateway.catalog import Catalog
from services.gateway.descriptions import Description
from services.gateway.fronts import Front, FrontOptions
from services.gateway.fronts.grpc_requests import Reserve
from services.gateway.fronts.grpc_server import GrpcServer
from services.gateway.fronts.grpc_web import GrpcWeb
from services.gateway.fronts.grpcio import GrpcioFront
from services.gateway.fronts.native import NativeFront
from services.gateway.fronts.tls import Tls
from services.gateway.grpc_servicer import SERVICE, InferenceServicer, add_to_server
from services.gateway.inference import Desk
from services.gateway.metrics import GatewayCollector
from services.gateway.models import Models
from services.gateway.payload_servicer import PayloadServicer
from services.gateway.pending import PendingTable
from services.gateway.processes.member import Membership
from services.gateway.reply_servicer import ReplyServicer
from services.gateway.rest import RestApi
from services.gateway.settings import GatewaySettings
from services.gateway.spans import RequestSpans

_log = logging.getLogger(__name__)

_WATCH_PERIOD_S = 0.5
_SPAN_FLUSH_PERIOD_S = 1.0
_PREPARE_WITHIN_S = 5.0
_PAYLOAD_PERIOD_S = 5.0
_SHARED_BYTES = 32 * 1024
"""From this size on a request costs less in shared memory than within a lane."""
_INTERNAL_GRACE_S = 0.5
# A model process whose host went away must not look connected: the next stream of it may count from 1 again.
_KEEPALIVE_S, _KEEPALIVE_TIMEOUT_S = 10, 5


class Gateway:
    """The parts of one gateway process, wired by hand, and what they do in the background."""

    def __init__(self, suite: SuiteSettings, settings: GatewaySettings, membership: Membership | None) -> None:
        version = penstock.__version__
        gateway_id = secrets.token_hex(8)
        self.exporter = SpanExporter(
            endpoint=suite.otlp_endpoint, service="penstock-gateway", instance=gateway_id, version=version
        )
        self.spans = RequestSpans(
            self.exporter,
            sample_ratio=suite.trace_sample_ratio,
            max_traces_per_second=settings.max_traces_per_second,
            max_errors_per_second=settings.max_error_spans_per_second,
        )
        redis_url = redis_connection.checked(suite.effective_redis_url)
        self.lane_watch = LaneWatch(redis_url)
        self.pending = PendingTable(self.spans)
        self.catalog = Catalog(
            clock=asyncio.get_running_loop().time, gateway_processes=settings.process_count if membership else 1
        )
        self.payload_store = PayloadStore(gateway_id, limit_bytes=suite.shared_payload_bytes)
        self._inline_limit_bytes = settings.inline_limit_bytes
        self.writer = LaneWriter(
            redis_url,
            self.pending,
            gateway_id=gateway_id,
            inline_limit_bytes=settings.inline_limit_bytes,
            payloads=self.payload_store,
        )
        self.replies = ReplyServicer(
            gateway_id=gateway_id,
            pending=self.pending,
            find_lane=self.catalog.find,
            on_taken_back=self.writer.take_back,
        )
        self.writer.hand_over = self.replies.hand_over
        self.payloads = PayloadServicer(gateway_id=gateway_id, pending=self.pending)
        self.desk = Desk(
            pending=self.pending,
            spans=self.spans,
            queue=self.writer,
            cancellations=self.replies,
            recovery_grace_s=settings.recovery_grace_s,
        )
        self.resources = ResourceCache(self._follow_registry)
        self.models = Models(
            resources=self.resources, catalog=self.catalog, desk=self.desk, version=version, siblings=membership
        )
        self.prepared = asyncio.Event()
        self._news = asyncio.Event()
        self.health = serving.Health(SERVICE)

    def collector(self) -> GatewayCollector:
        return GatewayCollector(
            lanes=lambda: self.catalog.lanes,
            reenqueued=lambda: self.writer.reenqueued,
            is_ready=lambda: self.models.is_ready,
            is_redis_up=lambda: self.models.is_redis_up,
            worker_streams=lambda: self.replies.stream_count,
        )

    async def watch_lanes(self) -> None:
        """Follow leases and Redis itself, and let health follow them and the registry. Runs until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            lanes = self.catalog.lanes
            sighting = await self.lane_watch.look([lane.keys for lane in lanes])
            self.models.is_redis_up = sighting is not None
            if sighting is not None:
                self.writer.note_run_id(sighting.run_id)
                for lane, count in zip(lanes, sighting.live_consumers, strict=True):
                    lane.observe_consumers(count, now=clock())
                    if not lane.is_deployed and not lane.is_live:
                        self.desk.abandon(
                            lane, UnavailableError("the model is no longer deployed", reason="UNDEPLOYED")
                        )
                self.catalog.drop_settled()
            self.replies.take_back(before_ns=time.time_ns() - LEASE_MS * 1_000_000)
            if self.models.is_prepared:
                self.prepared.set()
            await self.health.set_serving(is_serving=self.models.is_ready)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_PERIOD_S):
                    await self._news.wait()
            self._news.clear()

    async def prepare(self, stop: asyncio.Event) -> None:
        """Wait until requests can be served, or for a while, or until ``stop``.

        A process that starts again beside others should take no connection earlier: they serve it meanwhile.
        """
        waiting = [asyncio.create_task(event.wait()) for event in (self.prepared, stop)]
        await asyncio.wait(waiting, timeout=_PREPARE_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def await_siblings(self, membership: Membership) -> None:
        """Let health wait until all processes of the gateway are prepared. Runs until cancelled."""
        await self.prepared.wait()
        with contextlib.suppress(ConnectionError):  # the parent left, and so shall we
            await membership.wait_for_all()
        self.models.is_awaited = False
        await self.health.set_serving(is_serving=self.models.is_ready)
        await asyncio.Event().wait()

    async def flush_spans(self) -> None:
        """Export merged error spans every second. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SPAN_FLUSH_PERIOD_S)
            self.spans.flush()

    def reserve(self, size: int) -> Draft | None:
        """Room in shared memory for a request that is too large for a lane, or may go that way at less expense."""
        least = _SHARED_BYTES if self.replies.are_all_here else self._inline_limit_bytes
        return self.payload_store.begin(size) if size >= least else None

    async def tend_payloads(self) -> None:
        """Give back what shared memory holds for nothing. Runs until cancelled."""
        while True:
            await asyncio.sleep(_PAYLOAD_PERIOD_S)
            self.payload_store.trim()
            self.replies.trim()

    def _follow_registry(self) -> None:
        self.desk.routes = self.catalog.rebuild(self.resources)
        self._news.set()


async def serve(
    stop: asyncio.Event, suite: SuiteSettings, settings: GatewaySettings, membership: Membership | None = None
) -> None:
    """Serve until ``stop`` is set; then refuse new requests, finish those under way, and close.

    With a ``membership`` this process is one of several on the same ports, and metrics are its parent's to serve.

    Raises:
        SystemExit: a port is taken.
    """
    keep_freed_memory()
    gateway = Gateway(suite, settings, membership)
    async with contextlib.AsyncExitStack() as closing:  # what comes last is closed first
        closing.push_async_callback(gateway.exporter.close)
        closing.push_async_callback(gateway.lane_watch.close)
        closing.callback(gateway.payload_store.close)
        channel = grpc.aio.insecure_channel(suite.registry_address, options=serving.CHANNEL_OPTIONS)
        await closing.enter_async_context(channel)
        internal = await _internal_server(gateway, suite, settings)
        closing.push_async_callback(_close_internal, gateway, internal)
        front = _front(suite, settings, reuse_port=membership is not None, reserve=gateway.reserve)
        web = GrpcWeb(
            (SERVICE, health.SERVICE_NAME),
            address=lambda: front.own_address,
            max_request_bytes=settings.max_request_bytes,
        )
        closing.push_async_callback(web.close)
        metrics = CollectorRegistry()
        metrics.register(gateway.collector())
        background = [
            gateway.resources.follow(RegistryServiceStub(channel)),
            gateway.writer.run(),
            gateway.watch_lanes(),
            gateway.flush_spans(),
            gateway.tend_payloads(),
        ]
        if membership is None:
            await _publish(gateway, front, web, settings)
            stop_metrics = serving.serve_metrics(metrics, host=suite.bind, port=settings.metrics_port)
            closing.push_async_callback(asyncio.to_thread, stop_metrics)
        else:
            background += [_answer_parent(gateway, membership, metrics, stop), gateway.await_siblings(membership)]
        async with asyncio.TaskGroup() as group:
            drained = asyncio.Event()
            group.create_task(serving.run_until_stopped(drained, background))
            if membership is not None:
                await gateway.prepare(stop)
                await _publish(gateway, front, web, settings)
            if not stop.is_set():
                group.create_task(front.run_until_stopped())
                _log.info(
                    "gateway listens: gRPC %d, REST %d, replies %s",
                    front.grpc_port,
                    front.http_port,
                    gateway.writer.reply_address,
                )
                serving.favour_latency()
                await stop.wait()
                await _drain(gateway, front, settings.drain_timeout_s)
            drained.set()


async def _internal_server(gateway: Gateway, suite: SuiteSettings, settings: GatewaySettings) -> grpc.aio.Server:
    """Start the server that model processes use, and let requests say where it is."""
    server = _server_for_workers(settings)
    add_ReplyServiceServicer_to_server(translated(gateway.replies), server)
    add_PayloadServiceServicer_to_server(translated(gateway.payloads), server)
    health = serving.Health("penstock.gateway.v1.ReplyService", "penstock.gateway.v1.PayloadService")
    await health.attach(server)
    port = serving.bind(server, f"{suite.bind}:{settings.internal_port}")
    await server.start()
    await health.set_serving(is_serving=True)
    gateway.writer.reply_address = f"{settings.reply_host or suite.bind}:{port}"
    return server


async def _close_internal(gateway: Gateway, server: grpc.aio.Server) -> None:
    await gateway.replies.flush()
    await server.stop(_INTERNAL_GRACE_S)


def _server_for_workers(settings: GatewaySettings) -> grpc.aio.Server:
    if settings.front == "native":
        limits = Limits(keepalive_s=_KEEPALIVE_S, keepalive_timeout_s=_KEEPALIVE_TIMEOUT_S)
        return GrpcServer(max_request_bytes=serving.INT32_MAX, limits=limits)
    keepalive = [
        ("grpc.keepalive_time_ms", _KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_S * 1000),
    ]
    return grpc.aio.server(options=[*serving.SERVER_OPTIONS, *keepalive])


def _front(suite: SuiteSettings, settings: GatewaySettings, *, reuse_port: bool, reserve: Reserve) -> Front:
    kind = NativeFront if settings.front == "native" else GrpcioFront
    tls = None
    if settings.tls_certificate and settings.tls_key:
        tls = Tls(certificate=settings.tls_certificate, key=settings.tls_key, client_ca=settings.tls_client_ca)
    return kind(
        FrontOptions(
            host=suite.bind,
            grpc_port=settings.grpc_port,
            http_port=settings.http_port,
            max_request_bytes=settings.max_request_bytes,
            drain_timeout_s=settings.drain_timeout_s,
            tls=tls,
            reuse_port=reuse_port,
            reserve=reserve,
        )
    )


async def _publish(gateway: Gateway, front: Front, web: GrpcWeb, settings: GatewaySettings) -> None:
    """Give the public APIs to what serves them."""
    add_to_server(InferenceServicer(desk=gateway.desk, models=gateway.models, spans=gateway.spans), front.server)
    await gateway.health.attach(front.server)
    api = RestApi(
        desk=gateway.desk,
        models=gateway.models,
        spans=gateway.spans,
        max_request_bytes=settings.max_request_bytes,
    )
    front.open(api.application(more=web.routes, cors_origins=settings.cors_origins))


async def _answer_parent(
    gateway: Gateway, membership: Membership, metrics: CollectorRegistry, stop: asyncio.Event
) -> None:
    async def statistics(model: str, version: str) -> Description:
        return gateway.models.own_statistics(model, version)

    async def page() -> str:
        return (await asyncio.to_thread(generate_latest, metrics)).decode()

    await membership.follow_parent({"statistics": statistics, "metrics": page}, stop=stop)


async def _drain(gateway: Gateway, front: Front, timeout_s: float) -> None:
    """Take nothing more; wait for what is under way, for ``timeout_s`` at most, then fail the rest."""
    gateway.models.is_draining = True
    await gateway.health.set_serving(is_serving=False)
    error = UnavailableError("the gateway is shutting down", reason="SHUTTING_DOWN")
    last_call = asyncio.get_running_loop().call_later(timeout_s, gateway.desk.abandon, None, error)
    await front.stop(timeout_s + _INTERNAL_GRACE_S)
    last_call.cancel()
    gateway.spans.flush()
