"""The fast front: HTTP/2 and gRPC on the gateway's own event loop, uvicorn for REST."""

from __future__ import annotations

from starlette.types import ASGIApp

from services.common import serving
from services.gateway.fronts.grpc_server import GrpcServer
from services.gateway.fronts.http import HttpFront


class NativeFront:
    """Two servers on the event loop that the rest of the gateway runs on."""

    def __init__(
        self, *, host: str, grpc_port: int, http_port: int, max_request_bytes: int, drain_timeout_s: float
    ) -> None:
        self.server = GrpcServer(max_request_bytes=max_request_bytes)
        self.grpc_port = grpc_port
        self.http_port = http_port
        self._host = host
        self._drain_timeout_s = drain_timeout_s

    def open(self, rest: ASGIApp) -> None:
        self.grpc_port = serving.bind(self.server, f"{self._host}:{self.grpc_port}")
        self._http = HttpFront(rest, host=self._host, port=self.http_port, drain_timeout_s=self._drain_timeout_s)
        self.http_port = self._http.port

    async def run_until_stopped(self) -> None:
        await self.server.start()
        await self._http.run_until_stopped()

    async def stop(self, grace_s: float) -> None:
        self._http.stop()
        await self.server.stop(grace_s)
        await self._http.stopped.wait()
