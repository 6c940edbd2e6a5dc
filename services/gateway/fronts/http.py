"""The front for REST: uvicorn on the event loop that the rest of the gateway runs on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from services.common.listeners import bound
from services.gateway.fronts import FrontOptions

_LINGER_S = 1.0
_LOOK_AGAIN_S = 0.02

_KEEP_ALIVE_S = 75
"""How long an idle connection is kept. The sooner it is closed, the more requests meet its end on their way; and after
a standstill that was longer, uvicorn closes it before reading what came meanwhile."""


class HttpFront(uvicorn.Server):
    """A uvicorn server that leaves signals to the process it is in."""

    def __init__(self, application: ASGIApp, options: FrontOptions) -> None:
        """Listen at once, so that a taken address is found before anything runs.

        Raises:
            SystemExit: the address is taken.
        """
        self._socket = options.listeners.get("http") or bound(
            options.host, options.http_port, reuse_port=options.reuse_port
        )
        config = uvicorn.Config(
            application,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(options.drain_timeout_s)),
        )
        config.load()
        config.ssl = options.tls.context("http/1.1") if options.tls else None
        super().__init__(config)
        self.stopped = asyncio.Event()
        """Set when everything under way is finished."""
        self._on_open: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_until_stopped(self, on_open: Callable[[], None]) -> None:
        """Serve until :meth:`stop`, then finish what is under way. ``on_open`` is called once connections are taken."""
        self._on_open = on_open
        try:
            await self.serve(sockets=[self._socket])
        finally:
            self.stopped.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, and let those that are kept alive end with the next answer, which says so.

        A caller may be about to use one that is idle; so it is closed only when nothing came for a moment.
        """
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self.server_state.default_headers.append((b"connection", b"close"))  # the list that all requests have
        loop = asyncio.get_running_loop()
        end = loop.time() + _LINGER_S
        while self.server_state.connections and loop.time() < end:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(_LOOK_AGAIN_S)
        await super().shutdown(sockets)

    def stop(self) -> None:
        self.should_exit = True
