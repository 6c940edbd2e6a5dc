"""What the gateway starts, and in which order it stops: each server before what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health
from prometheus_client import CollectorRegistry, generate_latest

from penstock.endpoints import joined
from penstock.gateway.v1.payload_service_pb2_grpc import add_PayloadServiceServicer_to_server
from penstock.gateway.v1.reply_service_pb2_grpc import add_ReplyServiceServicer_to_server
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common import serving
from services.common.boundary import translated
from services.common.discovery.channel import FollowingChannel
from services.common.discovery.metrics import DiscoveryCollector
from services.common.errors import UnavailableError
from services.common.http2 import Limits
from services.common.latency import favour_latency
from services.common.memory import keep_freed_memory
from services.common.payloads import keep_clean
from services.common.settings import SuiteSettings
from services.gateway.adapters.pair_reporter import PairReporter
from services.gateway.announcement import registration
from services.gateway.descriptions import Description
from services.gateway.fronts import FrontOptions
from services.gateway.fronts.front import Front
from services.gateway.fronts.grpc_server import GrpcServer
from services.gateway.fronts.grpc_web import GrpcWeb
from services.gateway.fronts.grpcio import GrpcioFront
from services.gateway.fronts.native import NativeFront
from services.gateway.fronts.tls import Tls
from services.gateway.gateway import Gateway
from services.gateway.grpc_servicer import SERVICE, InferenceServicer, add_to_server
from services.gateway.keeper import Keeper
from services.gateway.processes.member import Membership
from services.gateway.rest import RestApi
from services.gateway.settings import GatewaySettings

_log = logging.getLogger(__name__)

_INTERNAL_GRACE_S = 0.5
_LAST_WORD_S = 0.1
# A model process whose host went away must not look connected: the next stream of it may count from 1 again.
_KEEPALIVE_S, _KEEPALIVE_TIMEOUT_S = 10, 5


async def serve(
    stop: serving.Stop,
    suite: SuiteSettings,
    settings: GatewaySettings,
    *,
    keeper: Keeper | None = None,
    membership: Membership | None = None,
) -> None:
    """Serve until ``stop`` is set; then refuse new requests, finish those under way, and close.

    With a ``membership`` this process is one of several on the same ports, and metrics are its parent's to serve. Where
    others serve beside this one, or may before and after it, it takes connections only when it is prepared.

    Raises:
        SystemExit: a port is taken.
    """
    keep_freed_memory()
    keeper = keeper or Keeper()
    is_alone = membership is None and not keeper.listeners
    gateway = Gateway(suite, settings, membership)
    async with contextlib.AsyncExitStack() as closing:  # what comes last is closed first
        closing.push_async_callback(gateway.exporter.close)
        closing.push_async_callback(gateway.lane_watch.close)
        closing.callback(gateway.payload_store.close)
        channel = await closing.enter_async_context(FollowingChannel(gateway.registries, "registry"))
        registry = RegistryServiceStub(channel)
        monitor = await closing.enter_async_context(FollowingChannel(gateway.monitors, "monitor"))
        pairs = PairReporter(
            gateway.shadows.take_tallies,
            monitors=lambda: len(gateway.monitors.addresses),
            ask_another=monitor.leave,
        )
        internal = await _internal_server(gateway, suite, settings, may_move=bool(keeper.listeners))
        closing.push_async_callback(_close_internal, gateway, internal)
        front = _front(gateway, suite, settings, reuse_port=membership is not None, listeners=keeper.listeners)
        web = GrpcWeb(
            (SERVICE, health.SERVICE_NAME),
            address=lambda: front.own_address,
            max_request_bytes=settings.max_request_bytes,
        )
        closing.push_async_callback(web.close)
        metrics = CollectorRegistry()
        metrics.register(gateway.collector())
        metrics.register(DiscoveryCollector(gateway.discovery))
        servicer = InferenceServicer(
            desk=gateway.desk, models=gateway.models, spans=gateway.spans, pending_bytes=gateway.pending_bytes
        )
        if is_alone:
            await _publish(gateway, servicer, front, web, settings)
        if membership is None:
            stop_metrics = serving.serve_metrics(
                metrics, host=suite.bind, port=settings.metrics_port, listener=keeper.listeners.get("metrics")
            )
            closing.push_async_callback(asyncio.to_thread, stop_metrics)
        background = [
            gateway.resources.follow(registry, on_silence=channel.leave),
            gateway.demand.run(registry),
            gateway.writer.run(),
            gateway.watch_lanes(),
            gateway.flush_spans(),
            gateway.tend_payloads(),
            gateway.tend_copies(),
            pairs.run(VerdictServiceStub(monitor)),
            keep_clean(),
            _tell_when_ready(gateway, front, keeper),
            gateway.discovery.run(),
        ]
        if membership is not None:
            background += [_answer_parent(gateway, membership, metrics, stop), gateway.await_siblings(membership)]
        async with asyncio.TaskGroup() as group:
            drained = asyncio.Event()
            group.create_task(serving.run_until_stopped(drained, background))
            if not is_alone:
                await gateway.prepare(stop)
                await _publish(gateway, servicer, front, web, settings)
            if not stop.is_set():
                group.create_task(front.run_until_stopped())
                if membership is None:
                    here = registration(suite, settings, grpc=front.grpc_port, http=front.http_port)
                    gateway.discovery.announce(here)
                _log.info(
                    "gateway listens: gRPC %d, REST %d, replies %s",
                    front.grpc_port,
                    front.http_port,
                    gateway.packer.reply_address,
                )
                favour_latency()
                await stop.wait()
                await _drain(gateway, servicer, front, settings.drain_timeout_s, has_successor=stop.has_successor)
            drained.set()


async def _internal_server(
    gateway: Gateway, suite: SuiteSettings, settings: GatewaySettings, *, may_move: bool
) -> grpc.aio.Server:
    """Start the server that model processes use, and let requests say where it is.

    It may move to a free port when a predecessor has it still, to which replies are under way.
    """
    server = _server_for_workers(settings)
    add_ReplyServiceServicer_to_server(translated(gateway.replies), server)
    add_PayloadServiceServicer_to_server(translated(gateway.payloads), server)
    health = serving.Health("penstock.gateway.v1.ReplyService", "penstock.gateway.v1.PayloadService")
    await health.attach(server)
    try:
        port = serving.bind(server, joined(suite.bind, settings.internal_port))
    except SystemExit:
        if not may_move:
            raise
        port = serving.bind(server, joined(suite.bind, 0))
    await server.start()
    await health.set_serving(is_serving=True)
    gateway.packer.reply_address = joined(settings.reply_host or suite.reachable_host, port)
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


def _front(
    gateway: Gateway,
    suite: SuiteSettings,
    settings: GatewaySettings,
    *,
    reuse_port: bool,
    listeners: Mapping[str, socket.socket],
) -> Front:
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
            listeners=listeners,
            reserve=gateway.reserve,
            pending_bytes=gateway.pending_bytes,
        )
    )


async def _publish(
    gateway: Gateway, servicer: InferenceServicer, front: Front, web: GrpcWeb, settings: GatewaySettings
) -> None:
    """Give the public APIs to what serves them."""
    add_to_server(servicer, front.server)
    await gateway.health.attach(front.server)
    api = RestApi(
        desk=gateway.desk,
        models=gateway.models,
        spans=gateway.spans,
        pending_bytes=gateway.pending_bytes,
        max_request_bytes=settings.max_request_bytes,
    )
    front.open(api.application(more=web.routes, cors_origins=settings.cors_origins))


async def _tell_when_ready(gateway: Gateway, front: Front, keeper: Keeper) -> None:
    """Tell it once requests are taken and can be served. Runs until cancelled."""
    await front.is_open.wait()
    await gateway.until_prepared()
    keeper.tell("ready")
    await asyncio.Event().wait()


async def _answer_parent(
    gateway: Gateway, membership: Membership, metrics: CollectorRegistry, stop: asyncio.Event
) -> None:
    async def statistics(model: str, version: str) -> Description:
        return gateway.models.own_statistics(model, version)

    async def page() -> str:
        return (await asyncio.to_thread(generate_latest, metrics)).decode()

    await membership.follow_parent({"statistics": statistics, "metrics": page}, stop=stop)


async def _drain(
    gateway: Gateway, servicer: InferenceServicer, front: Front, timeout_s: float, *, has_successor: bool
) -> None:
    """Say so; take nothing more; wait for what is under way, for ``timeout_s`` at most, then fail the rest.

    With a successor the addresses go on serving: nobody is told otherwise. Cancelled: fail at once what is under way.
    """
    gateway.models.is_draining = not has_successor
    await gateway.health.leave(has_successor=has_successor)
    if not has_successor:
        await gateway.discovery.withdraw()
    error = UnavailableError("the gateway is shutting down", reason="SHUTTING_DOWN")
    servicer.drain()
    gateway.shadows.close()
    last_call = asyncio.get_running_loop().call_later(timeout_s, gateway.desk.abandon, None, error)
    try:
        await front.stop(timeout_s + _INTERNAL_GRACE_S)
    except asyncio.CancelledError:
        gateway.desk.abandon(None, error)
        await asyncio.sleep(_LAST_WORD_S)
        raise
    finally:
        last_call.cancel()
        gateway.spans.flush()
