"""The gateway inside Envoy: the ASGI application that pyvoy loads, and the life of the process from there on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback

from services.common import logs, settings
from services.gateway.fronts import envoy
from services.gateway.fronts.grpc_call import Receive, Scope, Send
from services.gateway.server import serve
from services.gateway.settings import GatewaySettings


class HostedGateway:
    """Starts the gateway with the application's lifespan. A signal drains it; then Envoy ends."""

    def __init__(self) -> None:
        self._front: envoy.EnvoyFront | None = None
        self._left = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._front is not None:
            await self._front(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        stop = asyncio.Event()
        suite, own = settings.load(GatewaySettings)
        logs.configure("penstock-gateway", suite.log_level)
        self._front = envoy.EnvoyFront(
            grpc_port=own.grpc_port, http_port=own.http_port, max_request_bytes=own.max_request_bytes
        )
        threading.Thread(target=self._await_signal, args=(asyncio.get_running_loop(), stop), daemon=True).start()
        serving = asyncio.create_task(serve(stop, suite, own, self._front))
        serving.add_done_callback(self._end)
        await self._front.is_ready.wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _await_signal(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        signal.sigwait(envoy.STOP_SIGNALS)
        loop.call_soon_threadsafe(stop.set)
        self._left.wait()
        envoy.leave()

    def _end(self, serving: asyncio.Task[None]) -> None:
        """Let Envoy end after a drain; end at once when the gateway failed."""
        error = serving.exception()
        if error is None:
            self._left.set()
            return
        if isinstance(error, SystemExit):
            print(error, file=sys.stderr, flush=True)  # noqa: T201 - what the interpreter prints for it
        else:
            traceback.print_exception(error)
        os._exit(1)


application = HostedGateway()
"""What pyvoy loads."""
