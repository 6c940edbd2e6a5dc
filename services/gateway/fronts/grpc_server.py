"""A gRPC server on the event loop: servicers are added as to any grpc.aio server, HTTP/2 is spoken here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from services.common.http2 import Connection, Headers, Limits
from services.gateway.fronts import grpc_wire as wire
from services.gateway.fronts.grpc_call import Call
from services.gateway.fronts.http import listen

_log = logging.getLogger(__name__)

_LAST_WORD_S = 1.0
_BACKLOG = 4_096
DirectHandler = Callable[[bytes, Call], Callable[[], None] | None]
_CONTENT_TYPES = {b"application/grpc", b"application/grpc+", b"application/grpc;"}


@dataclass(frozen=True, slots=True)
class _Details(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: Any


@dataclass(slots=True)
class Route:
    """What a request's head asks for; one for all requests with the same header block."""

    http_status: int = 0
    """The whole answer to what is no gRPC."""
    fault: wire.StatusError | None = None
    """Why the call can't be served."""
    timeout_s: float | None = None
    encoding: str = "identity"
    metadata: wire.Metadata = ()
    is_request_streaming: bool = False
    is_response_streaming: bool = False
    behavior: Any = None
    direct: DirectHandler | None = None
    deserialize: Callable[[bytes], Any] | None = None
    serialize: Callable[[Any], bytes] | None = None


class Deadlines:
    """Ends calls when their time is over: one timer for all of them, exact to a twentieth of a second."""

    _PER_SECOND = 20
    _LEEWAY_S = 0.05
    """A servicer that keeps the deadline itself comes first, and ends the call in its own words."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, set[Call]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf

    def _slot(self, deadline: float) -> int:
        return math.ceil((deadline + self._LEEWAY_S) * self._PER_SECOND)

    def add(self, call: Call, deadline: float) -> None:
        slot = self._slot(deadline)
        self._due.setdefault(slot, set()).add(call)
        if slot < self._next:
            self._set(slot)

    def remove(self, call: Call, deadline: float) -> None:
        slot = self._slot(deadline)
        if (calls := self._due.get(slot)) is not None:
            calls.discard(call)
            if not calls:
                del self._due[slot]

    def _set(self, slot: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = None if slot == math.inf else self._loop.call_at(slot / self._PER_SECOND, self._ring)

    def _ring(self) -> None:
        now = self._loop.time() * self._PER_SECOND
        for slot in [slot for slot in self._due if slot <= now]:
            for call in self._due.pop(slot):
                call.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        self._set(min(self._due, default=math.inf))


class GrpcServer(grpc.aio.Server):
    """Takes asynchronous servicers; belongs to the event loop that it is made in."""

    def __init__(self, *, max_request_bytes: int, limits: Limits | None = None, reuse_port: bool = False) -> None:
        self.limit = max_request_bytes
        self.deadlines = Deadlines(asyncio.get_running_loop())
        self._limits = limits or Limits()
        self._reuse_port = reuse_port
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._direct: dict[str, DirectHandler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._terminated = asyncio.Event()

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self._methods.update({f"/{service_name}/{name}": handler for name, handler in method_handlers.items()})

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._generic.extend(generic_rpc_handlers)

    def add_direct_handler(self, method: str, handle: DirectHandler) -> None:
        """Serve a unary method, which has an ordinary handler too, without a task.

        ``handle`` gets each request as bytes, and sees to it that :meth:`Call.set_result` or
        :meth:`Call.set_exception` is called, at once or later. What it returns is called if nobody waits any more: the
        caller left, or the deadline has passed.
        """
        self._direct[method] = handle

    def add_insecure_port(self, address: str) -> int:
        host, _, port = address.rpartition(":")
        return self.add_port(host, int(port), None)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        raise NotImplementedError(f"credentials can't be looked into, use add_port: {address}, {server_credentials}")

    def add_port(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Bind an address, for TLS if there is a context; return the port.

        Raises:
            SystemExit: it is taken.
        """
        listener = listen(host, port, reuse_port=self._reuse_port)
        self._sockets.append((listener, tls))
        return int(listener.getsockname()[1])

    def add_unix_socket(self, path: str) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        self._sockets.append((listener, None))

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for listener, tls in self._sockets:
            if listener.family is socket.AF_UNIX:
                self._servers.append(await loop.create_unix_server(self._connect, sock=listener))
                continue
            self._servers.append(await loop.create_server(self._connect, sock=listener, ssl=tls, backlog=_BACKLOG))

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, wait ``grace`` seconds for those under way, then cancel them."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.go_away()
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
        if closing := [connection.closed for connection in self._connections]:
            await asyncio.wait(closing, timeout=timeout_s)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - grpc's own
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._terminated.wait()
        return not self._terminated.is_set()

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a servicer that nobody else does until it has ended."""
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def route(self, headers: Headers) -> Route:
        """Where a request goes; kept with its headers."""
        headers.memo = route = self._find(headers)
        return route

    def _connect(self) -> Connection:
        connection = Connection(
            limits=self._limits, accept=functools.partial(Call, self), on_lost=self._connections.discard
        )
        self._connections.add(connection)
        return connection

    def _find(self, headers: Headers) -> Route:
        if headers.get(b":method") != b"POST":
            return Route(http_status=405)
        if (headers.get(b"content-type") or b"")[:17] not in _CONTENT_TYPES:
            return Route(http_status=415)
        try:
            head = wire.read_head(headers.fields)
        except wire.StatusError as error:
            return Route(fault=error)
        path = (headers.get(b":path") or b"").decode("latin-1")
        handler: Any = self._handler(path, head.metadata)
        if handler is None:
            return Route(fault=wire.StatusError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))
        return Route(
            timeout_s=head.timeout_s,
            encoding=head.encoding,
            metadata=head.metadata,
            is_request_streaming=handler.request_streaming,
            is_response_streaming=handler.response_streaming,
            behavior=_behavior(handler),
            direct=self._direct.get(path),
            deserialize=handler.request_deserializer,
            serialize=handler.response_serializer,
        )

    def _handler(self, path: str, metadata: wire.Metadata) -> grpc.RpcMethodHandler[Any, Any] | None:
        if (handler := self._methods.get(path)) is not None:
            return handler
        details = _Details(path, metadata)
        return next((one for generic in self._generic if (one := generic.service(details)) is not None), None)


def _behavior(handler: Any) -> Any:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary
