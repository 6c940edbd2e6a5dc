"""The front for REST: uvicorn on the event loop that the rest of the gateway runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from services.gateway.fronts import FrontOptions
from services.gateway.ports import bound

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
        self._socket = bound(options.host, options.http_port, reuse_port=options.reuse_port)
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

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_until_stopped(self) -> None:
        """Serve until :meth:`stop`, then finish what is under way."""
        try:
            await self.serve(sockets=[self._socket])
        finally:
            self.stopped.set()

    def stop(self) -> None:
        self.should_exit = True
