"""What the parent of several processes starts: their ports, ``/metrics``, and them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import NoReturn

from services.common.settings import SuiteSettings
from services.gateway.ports import reserve
from services.gateway.processes import exposition
from services.gateway.processes.metrics_page import serve_page
from services.gateway.processes.parent import Parent, StartError
from services.gateway.settings import GatewaySettings, environment_with

_CLOSING_S = 5.0
"""What a process may take beyond its drain."""


def run(suite: SuiteSettings, settings: GatewaySettings) -> NoReturn:
    """Keep the processes until SIGTERM or SIGINT; then let them drain, and end this one.

    Raises:
        SystemExit: a port is taken.
    """
    if not sys.platform.startswith("linux"):
        sys.exit("PENSTOCK_GATEWAY__PROCESSES: only Linux spreads connections over processes, expected 1")
    with reserve(suite.bind, settings.grpc_port) as grpc, reserve(suite.bind, settings.http_port) as http:
        ports = {"GRPC_PORT": grpc.getsockname()[1], "HTTP_PORT": http.getsockname()[1], "INTERNAL_PORT": 0}
        try:
            is_clean = asyncio.run(_serve(suite, settings, {name: str(port) for name, port in ports.items()}))
        except StartError as error:
            sys.exit(str(error))
    sys.exit(0 if is_clean else 1)


async def _serve(suite: SuiteSettings, settings: GatewaySettings, changes: dict[str, str]) -> bool:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    changes["PROCESSES"] = str(settings.process_count)
    parent = Parent(
        settings.process_count,
        environ=environment_with({f"PENSTOCK_GATEWAY__{name}": value for name, value in changes.items()}),
        kill_after_s=settings.drain_timeout_s + _CLOSING_S,
        stop=stop,
    )

    def page() -> str:
        return asyncio.run_coroutine_threadsafe(parent.metrics(), loop).result()

    with contextlib.ExitStack() as closing:
        closing.callback(
            serve_page(page, content_type=exposition.CONTENT_TYPE, host=suite.bind, port=settings.metrics_port)
        )
        return await parent.run()
