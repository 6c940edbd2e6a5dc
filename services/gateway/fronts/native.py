"""The fast front: HTTP/2 and gRPC on the gateway's own event loop, uvicorn for REST."""

from __future__ import annotations

from starlette.types import ASGIApp

from penstock.endpoints import local_host
from services.gateway.fronts import FrontOptions, OwnDoor
from services.gateway.fronts.grpc_server import GrpcServer
from services.gateway.fronts.http import HttpFront


class NativeFront:
    """Two servers on the event loop that the rest of the gateway runs on."""

    def __init__(self, options: FrontOptions) -> None:
        self.server = GrpcServer(
            max_request_bytes=options.max_request_bytes, reuse_port=options.reuse_port, reserve=options.reserve
        )
        self.grpc_port = options.grpc_port
        self.http_port = options.http_port
        self.own_address = ""
        self._options = options
        self._door: OwnDoor | None = None

    def open(self, rest: ASGIApp) -> None:
        options = self._options
        tls = options.tls.context("h2") if options.tls else None
        self.grpc_port = self.server.add_port(options.host, options.grpc_port, tls)
        self.own_address = f"{local_host(options.host)}:{self.grpc_port}"
        if tls is not None:
            self._door = OwnDoor()
            self.server.add_unix_socket(self._door.path)
            self.own_address = f"unix:{self._door.path}"
        self._http = HttpFront(rest, options)
        self.http_port = self._http.port

    async def run_until_stopped(self) -> None:
        await self.server.start()
        await self._http.run_until_stopped()

    async def stop(self, grace_s: float) -> None:
        self._http.stop()
        await self.server.stop(grace_s)
        await self._http.stopped.wait()
        if self._door is not None:
            self._door.close()
