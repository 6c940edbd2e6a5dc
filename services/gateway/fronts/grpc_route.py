"""Where a gRPC request goes: what its headers ask for, and the servicer's method for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from services.common.http2 import Headers
from services.gateway.fronts import grpc_wire as wire

if TYPE_CHECKING:
    from services.gateway.fronts.grpc_call import Call

DirectHandler = Callable[[bytes | memoryview, "Call"], Callable[[], None] | None]
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
    deserialize: Callable[[bytes | memoryview], Any] | None = None
    serialize: Callable[[Any], bytes] | None = None


class Router:
    """The methods of all servicers."""

    def __init__(self) -> None:
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._direct: dict[str, DirectHandler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []

    def add(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._methods.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def add_generic(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._generic.extend(handlers)

    def add_direct(self, method: str, handle: DirectHandler) -> None:
        self._direct[method] = handle

    def route(self, headers: Headers) -> Route:
        """Where a request goes; kept with its headers."""
        headers.memo = route = self._find(headers)
        return route

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
