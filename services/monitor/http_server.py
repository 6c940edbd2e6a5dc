"""An HTTP server on the event loop that the rest of the monitor runs on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from services.common.listeners import bound

_MAX_CONNECTIONS = 256
_KEEP_ALIVE_S = 75
_GRACE_S = 1


class HttpServer(uvicorn.Server):
    """uvicorn, which leaves signals to the process it is in. Connections, and what their headers take, are bounded."""

    def __init__(self, application: Callable[..., Awaitable[Any]], *, host: str, port: int) -> None:
        """Listen at once, so that a taken address is found before anything runs.

        Raises:
            SystemExit: the address is taken.
        """
        self._socket = bound(host, port)
        self.port = int(self._socket.getsockname()[1])
        super().__init__(
            uvicorn.Config(
                application,
                loop="none",
                http="h11",  # unlike httptools, it limits headers
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._is_open = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._is_open.set()

    async def start(self) -> None:
        """Serve until :meth:`stop`."""
        self._running = asyncio.create_task(self.serve(sockets=[self._socket]), name="OTLP/HTTP")
        opening = asyncio.create_task(self._is_open.wait())
        await asyncio.wait([self._running, opening], return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            opening.cancel()
            await self._running

    async def stop(self) -> None:
        """Let calls under way finish, for a moment. May be called twice."""
        self.should_exit = True
        if self._running is not None:
            await asyncio.wait([self._running])
