"""What every service's process does alike: event loop, signals, a gRPC server with health and reflection, /metrics."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NoReturn

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, start_http_server

from services.common.errors import PenstockError

_log = logging.getLogger(__name__)

INT32_MAX = 2**31 - 1

SERVER_OPTIONS: list[tuple[str, int]] = [
    # Clients raise their limits to this; a tensor is as large as it is.
    ("grpc.max_send_message_length", INT32_MAX),
    ("grpc.max_receive_message_length", INT32_MAX),
    # Two processes must share a port only when they are told to.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
"""Options of every gRPC server."""

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", INT32_MAX),
    ("grpc.max_receive_message_length", INT32_MAX),
    # A peer that was killed comes back soon: don't let the pauses between attempts grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
"""Options of every channel between services."""


class Health:
    """``grpc.health.v1`` of one server: starts NOT_SERVING, and tells the truth from then on."""

    def __init__(self, *service_names: str) -> None:
        self._servicer = health.aio.HealthServicer()
        self._names = ("", *service_names)

    async def attach(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        reflection.enable_server_reflection([*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        await self.set_serving(is_serving=False)

    async def set_serving(self, *, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, status.SERVING if is_serving else status.NOT_SERVING)


def bind(server: grpc.aio.Server, address: str) -> int:
    """Listen on ``host:port``; return the port.

    Raises:
        SystemExit: the address is taken.
    """
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError:
        sys.exit(f"can't listen on {address}: another program does, or the address isn't this machine's")


def serve_metrics(registry: CollectorRegistry, *, host: str, port: int) -> Callable[[], None]:
    """Serve ``/metrics`` from a thread; return what stops it.

    Raises:
        SystemExit: the address is taken.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        sys.exit(f"can't listen on {host}:{port}: {error.strerror}")

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def favour_latency() -> None:
    """Keep this process from stalling now that it has started; its daily work must leave no cycles of references.

    A garbage collection over all that starting made takes 50 ms and more, so that is left out, and others are rare. A
    thread that renders metrics or spans hands the interpreter over after 1 ms instead of 5.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    sys.setswitchinterval(0.001)


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run a service until SIGTERM or SIGINT sets the event that ``main`` gets; then end the process.

    ``main`` must return soon after the event is set, having drained. Its exception ends the process with status 1.
    """
    try:
        uvloop.run(_until_signalled(main))
    except (PenstockError, ValueError) as error:
        sys.exit(str(error))
    sys.exit(0)


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


async def run_until_stopped(stop: asyncio.Event, tasks: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run background tasks until ``stop`` is set, then cancel them. A task that ends or fails before ends them all.

    Raises:
        ExceptionGroup: what the tasks raised.
        RuntimeError: a task ended although it should run for ever.
    """

    async def forever(task: Coroutine[Any, Any, None]) -> None:
        await task
        raise RuntimeError(f"background task {task} ended")

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(forever(task)) for task in tasks]
            await stop.wait()
            for one in running:
                one.cancel()
    finally:
        for task in tasks:
            task.close()  # of one that had not begun, Python would say that it was never awaited
