"""What the registry consists of, what starts in which order, and what stops in the reverse one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import grpc

from penstock.endpoints import joined
from penstock.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceStub,
    add_RegistryServiceServicer_to_server,
)
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub, add_RolloutServiceServicer_to_server
from services.common import serving
from services.common.boundary import translated
from services.common.discovery.discovery import Discovery
from services.common.discovery.metrics import DiscoveryCollector
from services.common.discovery.registration import MONITOR, REGISTRY, Registration
from services.common.settings import SuiteSettings
from services.registry import upkeep
from services.registry.adapters.content_store import open_store, staging_folder
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.forwarding import Forwarder
from services.registry.adapters.identification import identified
from services.registry.adapters.metrics import Metrics
from services.registry.adapters.monitor import Monitors
from services.registry.adapters.staging import Staging
from services.registry.adapters.upload_streams import UploadStreams
from services.registry.artifacts import Artifacts
from services.registry.collection import Collector
from services.registry.lease import Lease
from services.registry.nodes import Nodes
from services.registry.rollout_driver import RolloutDriver
from services.registry.rollout_servicer import RolloutServicer
from services.registry.servicer import RegistryServicer
from services.registry.settings import RegistrySettings
from services.registry.watch import Watch

_log = logging.getLogger(__name__)

SERVICES = ("penstock.registry.v1.RegistryService", "penstock.registry.v1.RolloutService")

_GRACE_S = 3.0

Servicer = TypeVar("Servicer")

# Twice the largest chunk: nothing else that is sent to the registry is as large.
_OPTIONS = {**dict(serving.SERVER_OPTIONS), "grpc.max_receive_message_length": 8 << 20}


async def serve(
    suite: SuiteSettings,
    settings: RegistrySettings,
    stop: asyncio.Event,
    *,
    clock: Clock = time.time_ns,
    monotonic: Clock = time.monotonic_ns,
    poll_s: float = 1.0,
    started: Callable[[int], None] = lambda _port: None,
) -> None:
    """Run the registry until ``stop`` is set, then end its streams, finish its calls and leave.

    Every ``poll_s`` seconds it looks at what other registries on the database did, and at what has had its time.
    ``started`` is called with the port of the gRPC API once it takes requests.

    Raises:
        ValueError: the database can't be used.
        UnavailableError: the database can't be reached.
        SystemExit: a port is taken.
    """
    suite.home.mkdir(parents=True, exist_ok=True)
    metrics, health, discovery = Metrics(), serving.Health(*SERVICES), Discovery(suite.consul)
    metrics.collectors.register(DiscoveryCollector(discovery))
    async with AsyncExitStack() as stack:
        database = Database(
            settings.effective_database_url(suite.home), clock=clock, changes_kept=settings.change_log_length
        )
        stack.callback(database.close)
        server = grpc.aio.server(options=[*_OPTIONS.items()])
        port = serving.bind(server, joined(suite.bind, settings.port))
        stack.callback(serving.serve_metrics(metrics.collectors, host=suite.bind, port=settings.metrics_port))

        staging = Staging(staging_folder(settings.artifacts, suite.home))
        store = open_store(settings.artifacts, suite.home)
        grace_ns = int(settings.garbage_grace_s * 1e9)
        artifacts = Artifacts(staging, store, database, grace_ns=grace_ns)
        stack.push_async_callback(artifacts.close)
        collector = Collector(
            staging, store, database, grace_ns=grace_ns, clock=clock, is_receiving=artifacts.is_receiving
        )
        nodes = Nodes(database, clock=clock, monotonic=monotonic, on_evictions=metrics.evictions.inc)
        lease = Lease(database, address=joined(suite.reachable_host, port))
        watch, streams = Watch(database), UploadStreams()
        database.on_commit = watch.advance
        servicer = RegistryServicer(
            database, artifacts=artifacts, collector=collector, streams=streams, nodes=nodes, watch=watch
        )
        forwarder = Forwarder(lease, streams, can_send=artifacts.can_send)
        stack.push_async_callback(forwarder.close)
        monitors = Monitors(discovery.find(MONITOR, suite.monitor_address))
        stack.push_async_callback(monitors.close)
        driver = RolloutDriver(database, nodes, monitors, clock=clock, monotonic=monotonic)
        metrics.observe(
            revision=lambda: watch.revision,
            watchers=lambda: watch.watchers,
            is_writer=lambda: lease.is_writer,
            homeless=lambda: nodes.homeless_count,
            active_rollouts=lambda: driver.active_count if lease.is_writer else 0,
        )
        rollout_servicer = RolloutServicer(database, nodes=nodes, on_change=driver.wake)

        def complete(servicer: Servicer, stub: Callable[[grpc.aio.Channel], Any]) -> Servicer:
            return metrics.measure(translated(identified(forwarder.wrap(servicer, stub=stub))))

        add_RegistryServiceServicer_to_server(complete(servicer, RegistryServiceStub), server)
        add_RolloutServiceServicer_to_server(complete(rollout_servicer, RolloutServiceStub), server)
        await health.attach(server)

        async def begin_writing() -> None:
            nodes.begin()
            driver.wake()

        await database.migrate()
        await lease.begin()
        stack.push_async_callback(lease.release)
        if lease.is_writer:
            await begin_writing()
        await server.start()
        stack.push_async_callback(server.stop, _GRACE_S)
        stack.callback(watch.close)
        stack.callback(streams.close)
        stack.push_async_callback(discovery.withdraw)
        stack.push_async_callback(health.leave)

        discovery.announce(Registration(REGISTRY, suite.reachable_host, port))
        _log.info("the registry listens on port %s", port)
        started(port)
        await serving.run_until_stopped(
            stop,
            [
                upkeep.follow_database(
                    database, lease, poll_s=poll_s, seen=watch.advance, begun=begin_writing, health=health
                ),
                upkeep.measure(database, poll_s=poll_s, seen=metrics.artifact_bytes.set),
                upkeep.watch_nodes(nodes, lease),
                upkeep.drive_rollouts(driver, lease, poll_s=poll_s),
                upkeep.sweep(database, nodes, lease, clock=clock, poll_s=poll_s),
                upkeep.collect(collector, lease, clock=clock, poll_s=poll_s),
                discovery.run(),
            ],
        )
