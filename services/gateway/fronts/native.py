"""The fast front: HTTP/2 and gRPC on the gateway's own event loop."""

from __future__ import annotations

from services.gateway.fronts import FrontOptions
from services.gateway.fronts.front import Front
from services.gateway.fronts.grpc_server import GrpcServer


class NativeFront(Front):
    """With our own gRPC server."""

    server: GrpcServer

    def __init__(self, options: FrontOptions) -> None:
        server = GrpcServer(
            max_request_bytes=options.max_request_bytes,
            reuse_port=options.reuse_port,
            reserve=options.reserve,
            pending_bytes=options.pending_bytes,
        )
        super().__init__(server, options)

    def _take_grpc_port(self, options: FrontOptions) -> int:
        tls = options.tls.context("h2") if options.tls else None
        if (listener := options.listeners.get("grpc")) is not None:
            return self.server.add_listener(listener, tls)
        return self.server.add_port(options.host, options.grpc_port, tls)
