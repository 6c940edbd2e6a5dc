"""What every service's process does alike: event loop, signals, a gRPC server with health and reflection, /metrics."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, make_wsgi_app

from services.common import metrics_page
from services.common.errors import PenstockError
from services.common.health_servicer import HealthServicer
from services.common.listeners import bound

_log = logging.getLogger(__name__)

INT32_MAX = 2**31 - 1

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

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
        self._servicer = HealthServicer()
        self._names = ("", *service_names)

    async def attach(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        reflection.enable_server_reflection([*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        await self.set_serving(is_serving=False)

    async def set_serving(self, *, is_serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        self._servicer.set(self._names, states.SERVING if is_serving else states.NOT_SERVING)

    async def leave(self, *, has_successor: bool = False) -> None:
        """Say NOT_SERVING for good, but not of an address that a successor serves already; let watchers go."""
        if not has_successor:
            await self.set_serving(is_serving=False)
        self._servicer.leave()


def bind(server: grpc.aio.Server, address: str) -> int:
    """Listen on ``host:port``; return the port.

    Raises:
        SystemExit: the address is taken.
    """
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError:
        sys.exit(f"can't listen on {address}: another program does, or the address isn't this machine's")


def serve_metrics(
    registry: CollectorRegistry, *, host: str, port: int, listener: socket.socket | None = None
) -> Callable[[], None]:
    """Serve ``/metrics`` from a thread, on ``listener`` if there is one; return what stops it.

    Raises:
        SystemExit: the address is taken.
    """
    return metrics_page.serve(make_wsgi_app(registry), bound(host, port) if listener is None else listener)


class Stop(asyncio.Event):
    """Set when the process is to leave. ``has_successor``: another one takes its place, and serves where it did."""

    has_successor = False


def run(main: Callable[[Stop], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run a service until SIGTERM or SIGINT, or SIGHUP for one with a successor, sets what ``main`` gets; then exit.

    ``main`` must return soon after that, having drained. A second signal cancels it, a third one kills the process. Its
    exception ends the process with status 1.
    """
    try:
        uvloop.run(_until_signalled(main))
    except (PenstockError, ValueError) as error:
        sys.exit(str(error))
    sys.exit(0)


async def _until_signalled(main: Callable[[Stop], Coroutine[Any, Any, None]]) -> None:
    stop, hurry, loop, task = Stop(), asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()

    def hear(number: signal.Signals) -> None:
        stop.has_successor = number is signal.SIGHUP
        if not stop.is_set():
            stop.set()
        elif task is not None:
            _log.warning("in a hurry: what is under way is given up")
            hurry.set()
            _handle_signals(loop, signal.SIG_DFL)
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, hear, number)
    try:
        await main(stop)
    except (Exception, asyncio.CancelledError) as error:
        if not hurry.is_set():
            raise
        _log.debug("ended in a hurry: %r", error)
    finally:
        _handle_signals(loop, signal.SIG_IGN)  # it leaves, and is not to be killed on the last few steps


def _handle_signals(loop: asyncio.AbstractEventLoop, how: signal.Handlers) -> None:
    for number in _SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, how)


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
