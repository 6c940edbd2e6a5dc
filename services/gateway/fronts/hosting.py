"""The life of a process that Envoy runs: begun with the ASGI lifespan, drained by a signal, ended as Envoy ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from services.gateway.fronts.grpc_call import Receive, Scope, Send

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
"""Blocked in all threads of the process, so that Envoy does not end before the service has drained."""


class HostedFront(Protocol):
    """What answers the requests."""

    is_ready: asyncio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class HostedService:
    """The ASGI application that pyvoy loads."""

    def __init__(self, begin: Callable[[asyncio.Event], tuple[HostedFront, Coroutine[Any, Any, None]]]) -> None:
        """``begin`` gets the event that a signal sets; it gives the front, and what runs until that was heeded."""
        self._begin = begin
        self._front: HostedFront | None = None
        self._ended = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._front is not None:
            await self._front(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        stop = asyncio.Event()
        self._front, service = self._begin(stop)
        running = asyncio.create_task(service)
        running.add_done_callback(self._end)
        threading.Thread(target=self._await_signal, args=(asyncio.get_running_loop(), stop), daemon=True).start()
        await self._front.is_ready.wait()
        await send({"type": "lifespan.startup.complete"})  # Envoy listens from here on
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _await_signal(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        signal.sigwait(STOP_SIGNALS)
        loop.call_soon_threadsafe(stop.set)
        self._ended.wait()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        os.kill(os.getpid(), signal.SIGTERM)  # in this thread, as no other one takes it: to Envoy's own handler

    def _end(self, running: asyncio.Task[None]) -> None:
        """Let Envoy end after a drain; end at once when the service failed."""
        error = running.exception()
        if error is None:
            self._ended.set()
            return
        if isinstance(error, SystemExit):
            print(error, file=sys.stderr, flush=True)  # noqa: T201 - as the interpreter does for it
        else:
            traceback.print_exception(error)
        os._exit(1)
