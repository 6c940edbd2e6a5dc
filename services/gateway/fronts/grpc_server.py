"""A gRPC server on the event loop: servicers are added as to any grpc.aio server, HTTP/2 is spoken here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from services.common.http2 import Connection, Limits
from services.common.listeners import bound
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.fronts.deadlines import Deadlines
from services.gateway.fronts.grpc_call import Call
from services.gateway.fronts.grpc_requests import Reserve, nowhere
from services.gateway.fronts.grpc_route import DirectHandler, Router

_LAST_WORD_S = 1.0
_HANDSHAKE_S = 0.2
"""What a TLS handshake may take; a connection is not known before."""
_BACKLOG = 4_096


class GrpcServer(grpc.aio.Server):
    """Takes asynchronous servicers; belongs to the event loop that it is made in."""

    def __init__(
        self,
        *,
        max_request_bytes: int,
        limits: Limits | None = None,
        reuse_port: bool = False,
        reserve: Reserve = nowhere,
        pending_bytes: PendingBytes | None = None,
    ) -> None:
        self.limit = max_request_bytes
        self.reserve = reserve
        """Makes room for direct handlers' messages that come in pieces."""
        self.pending_bytes = pending_bytes or PendingBytes()
        """What messages hold while they come."""
        self.router = Router()
        self.deadlines = Deadlines(asyncio.get_running_loop())
        self._limits = limits or Limits()
        self._reuse_port = reuse_port
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._terminated = asyncio.Event()

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self.router.add(service_name, method_handlers)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self.router.add_generic(generic_rpc_handlers)

    def add_direct_handler(self, method: str, handle: DirectHandler) -> None:
        """Serve a unary method, which has an ordinary handler too, without a task.

        ``handle`` gets each request serialised, and sees to it that :meth:`Call.set_result` or
        :meth:`Call.set_exception` is called, at once or later. What it returns is called if nobody waits any more: the
        caller left, or the deadline has passed.
        """
        self.router.add_direct(method, handle)

    def add_insecure_port(self, address: str) -> int:
        """Bind ``host:port`` or ``unix:path``; return the port, as grpc.aio has it 1 for a path."""
        if address.startswith("unix:"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address.removeprefix("unix:"))
            self._sockets.append((listener, None))
            return 1
        host, _, port = address.rpartition(":")
        return self.add_port(host, int(port), None)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        raise NotImplementedError(f"credentials can't be looked into, use add_port: {address}, {server_credentials}")

    def add_port(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Bind an address, for TLS if there is a context; return the port.

        Raises:
            SystemExit: it is taken.
        """
        return self.add_listener(bound(host, port, reuse_port=self._reuse_port), tls)

    def add_listener(self, listener: socket.socket, tls: ssl.SSLContext | None) -> int:
        """Serve on a bound socket, for TLS if there is a context; return its port."""
        self._sockets.append((listener, tls))
        return int(listener.getsockname()[1])

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for listener, tls in self._sockets:
            if listener.family is socket.AF_UNIX:
                self._servers.append(await loop.create_unix_server(self._connect, sock=listener))
                continue
            self._servers.append(await loop.create_server(self._connect, sock=listener, ssl=tls, backlog=_BACKLOG))

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, wait ``grace`` seconds for those under way, then cancel them."""
        self._is_stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.go_away()
        if grace and any(tls for _, tls in self._sockets):
            await asyncio.sleep(_HANDSHAKE_S)
        await self._wait_for_connections(grace or 0)
        for connection in list(self._connections):
            for stream in list(connection.streams.values()):
                if isinstance(stream, Call):
                    stream.end(grpc.StatusCode.CANCELLED, "the server is shutting down")
        await self._wait_for_connections(_LAST_WORD_S)
        for connection in list(self._connections):
            connection.abort()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LAST_WORD_S)
        self._terminated.set()

    async def _wait_for_connections(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._connections:  # one may be made still
                    await asyncio.wait([connection.closed for connection in self._connections])

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - grpc's own
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._terminated.wait()
        return not self._terminated.is_set()

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a servicer that nobody else does until it has ended."""
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _connect(self) -> Connection:
        # Those whose TLS handshake fails are neither made nor lost.
        return Connection(
            limits=self._limits,
            accept=functools.partial(Call, self),
            on_made=self._take,
            on_lost=self._connections.discard,
        )

    def _take(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._is_stopping:
            connection.go_away()
