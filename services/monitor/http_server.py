"""An HTTP server on the event loop that the rest of the monitor runs on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.common.listeners import bound

_MAX_CONNECTIONS = 256
_KEEP_ALIVE_S = 75
_HEAD_TIMEOUT_S = 10.0
"""How long a connection may take to send the head of a request, from its first byte on, or from its begin."""
_GRACE_S = 1


class _Protocol(H11Protocol):
    """HTTP/1.1 on one connection, which is closed when the head of a request takes too long."""

    cycle: Any
    """Of the last request; None before the first."""
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering:
            self._stop_waiting()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(_HEAD_TIMEOUT_S, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class HttpServer(uvicorn.Server):
    """uvicorn, which leaves signals to the process it is in. Connections, and what their heads take of memory and time,
    are bounded.
    """

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
                http=_Protocol,  # unlike httptools, h11 limits headers
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

    async def running(self) -> None:
        """Wait until it ends.

        Raises:
            RuntimeError: it ended although nobody stopped it.
        """
        if self._running is not None:
            await asyncio.wait([self._running])
            if not self.should_exit:
                why = None if self._running.cancelled() else self._running.exception()
                raise RuntimeError("the HTTP server ended by itself") from why

    async def stop(self) -> None:
        """Let calls under way finish, for a moment. May be called twice."""
        self.should_exit = True
        if self._running is not None:
            await asyncio.wait([self._running])
