"""What the parent of several processes starts: their ports, ``/metrics``, and them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from typing import NoReturn
from wsgiref.types import StartResponse, WSGIEnvironment

from services.common import metrics_page
from services.common.discovery.discovery import Discovery
from services.common.listeners import bound
from services.common.settings import SuiteSettings
from services.gateway.announcement import registration
from services.gateway.keeper import Keeper
from services.gateway.ports import reserve
from services.gateway.processes import exposition
from services.gateway.processes.parent import Parent
from services.gateway.processes.place import StartError
from services.gateway.settings import GatewaySettings, environment_with

_log = logging.getLogger(__name__)

_CLOSING_S = 5.0
"""What a process may take beyond its drain."""


def run(suite: SuiteSettings, settings: GatewaySettings, keeper: Keeper) -> NoReturn:
    """Keep the processes until SIGTERM or SIGINT; then let them drain, and end this one. SIGHUP renews them.

    Raises:
        SystemExit: a port is taken.
    """
    if not sys.platform.startswith("linux"):
        sys.exit("PENSTOCK_GATEWAY__PROCESSES: only Linux spreads connections over processes, expected 1")
    held = keeper.listeners
    with (
        held.get("grpc") or reserve(suite.bind, settings.grpc_port) as grpc,
        held.get("http") or reserve(suite.bind, settings.http_port) as http,
    ):
        ports = {"grpc": grpc.getsockname()[1], "http": http.getsockname()[1]}
        page = held.get("metrics") or bound(suite.bind, settings.metrics_port)
        try:
            is_clean = asyncio.run(_serve(suite, settings, ports, page=page, keeper=keeper))
        except StartError as error:
            sys.exit(str(error))
    sys.exit(0 if is_clean else 1)


async def _serve(
    suite: SuiteSettings, settings: GatewaySettings, ports: dict[str, int], *, page: socket.socket, keeper: Keeper
) -> bool:
    loop = asyncio.get_running_loop()
    changes = {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
    changes |= {"INTERNAL_PORT": "0", "PROCESSES": str(settings.process_count)}
    parent = Parent(
        settings.process_count,
        host=suite.bind,
        ports=ports,
        environ=environment_with({f"PENSTOCK_GATEWAY__{name}": value for name, value in changes.items()}),
        kill_after_s=settings.drain_timeout_s + _CLOSING_S,
        on_notice=keeper.tell,
    )
    keeper.tell("renews")
    discovery = Discovery(suite.consul)
    discovery.announce(registration(suite, settings, **ports))
    leaving: list[asyncio.Task[None]] = []

    async def leave() -> None:
        await discovery.withdraw()
        parent.stop()

    def hear() -> None:
        if not leaving:
            leaving.append(loop.create_task(leave()))
            return
        if leaving[0].cancel():
            parent.stop()
        parent.stop()  # again: they are to hurry

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)
    loop.add_signal_handler(signal.SIGHUP, parent.renew)

    def metrics(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = asyncio.run_coroutine_threadsafe(parent.metrics(), loop).result().encode()
        start_response("200 OK", [("Content-Type", exposition.CONTENT_TYPE), ("Content-Length", str(len(body)))])
        return [body]

    with contextlib.ExitStack() as closing:
        closing.callback(metrics_page.serve(metrics, page))
        finding = loop.create_task(discovery.run())
        try:
            return await parent.run()
        finally:
            await discovery.withdraw()
            finding.cancel()
