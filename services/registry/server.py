"""What the registry consists of, what starts in which order, and what stops in the reverse one."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc

from penstock.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from services.common import serving
from services.common.boundary import translated
from services.common.errors import PenstockError
from services.common.settings import SuiteSettings
from services.registry import replays
from services.registry.adapters import artifact_rows
from services.registry.adapters.artifact_store import ArtifactStore
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.metrics import Metrics
from services.registry.adapters.transaction import Transaction
from services.registry.artifacts import Artifacts
from services.registry.nodes import Nodes
from services.registry.servicer import RegistryServicer
from services.registry.settings import RegistrySettings
from services.registry.watch import Watch

_log = logging.getLogger(__name__)

SERVICE = "penstock.registry.v1.RegistryService"

_POLL_S = 1.0
_SWEEP_S = 60.0
_GRACE_S = 3.0

# Twice the largest chunk: nothing else that is sent to the registry is as large.
_OPTIONS = {**dict(serving.SERVER_OPTIONS), "grpc.max_receive_message_length": 8 << 20}


async def serve(
    suite: SuiteSettings,
    settings: RegistrySettings,
    stop: asyncio.Event,
    *,
    clock: Clock = time.time_ns,
    started: Callable[[int], None] = lambda _port: None,
) -> None:
    """Run the registry until ``stop`` is set, then end its streams, finish its calls and leave.

    ``started`` is called with the port of the gRPC API once it takes requests.

    Raises:
        ValueError: the database can't be used.
        UnavailableError: the database can't be reached.
        SystemExit: a port is taken.
    """
    suite.home.mkdir(parents=True, exist_ok=True)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        database = Database(
            settings.effective_database_url(suite.home),
            clock=clock,
            changes_kept=settings.change_log_length,
            on_commit=lambda revision: watch.advance(revision),  # noqa: PLW0108 - the watch comes after the database
        )
        stack.callback(database.close)
        watch = Watch(database)
        metrics.observe(revision=lambda: watch.revision, watchers=lambda: watch.watchers)
        store = ArtifactStore(suite.home / "artifacts")
        artifacts = Artifacts(store, database, clock=clock)
        stack.callback(artifacts.close)
        nodes = Nodes(database, registry=f"{socket.gethostname()}:{settings.port}", clock=clock)
        servicer = RegistryServicer(database, store, artifacts=artifacts, nodes=nodes, watch=watch)

        await database.migrate()
        await artifacts.adopt()

        server = grpc.aio.server(options=[*_OPTIONS.items()])
        add_RegistryServiceServicer_to_server(metrics.measure(translated(servicer)), server)
        health = serving.Health(SERVICE)
        await health.attach(server)
        port = serving.bind(server, f"{suite.bind}:{settings.port}")
        stack.callback(serving.serve_metrics(metrics.collectors, host=suite.bind, port=settings.metrics_port))
        await server.start()
        stack.push_async_callback(server.stop, _GRACE_S)
        stack.callback(watch.close)
        stack.push_async_callback(health.set_serving, is_serving=False)

        follow = _follow_database(database, watch, health=health, metrics=metrics)
        _log.info("the registry listens on port %s", port)
        started(port)
        await serving.run_until_stopped(stop, [follow, _sweep(database, artifacts, nodes)])


async def _follow_database(database: Database, watch: Watch, *, health: serving.Health, metrics: Metrics) -> None:
    """Notice what other registries write, and whether the database can be reached."""
    while True:
        try:
            revision, artifact_bytes = await database.read(_read_figures)
            watch.advance(revision)
            metrics.artifact_bytes.set(artifact_bytes)
            await health.set_serving(is_serving=True)
        except PenstockError as error:
            _log.warning("the registry is not ready: %s", error)
            await health.set_serving(is_serving=False)
        await asyncio.sleep(_POLL_S)


def _read_figures(tx: Transaction) -> tuple[int, int]:
    return tx.revision, artifact_rows.total_bytes(tx)


async def _sweep(database: Database, artifacts: Artifacts, nodes: Nodes) -> None:
    """Let go of what has had its time."""
    next_sweep = 0.0
    while True:
        try:
            await nodes.expire_silent()
            if time.monotonic() >= next_sweep:
                await artifacts.sweep()
                await database.write(replays.forget_old)
                next_sweep = time.monotonic() + _SWEEP_S
        except (PenstockError, OSError) as error:
            _log.warning("sweeping failed, it is tried again: %s", error)
        await asyncio.sleep(_POLL_S)
