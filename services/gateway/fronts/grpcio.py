"""The portable front: grpc.aio for gRPC, uvicorn for REST."""

from __future__ import annotations

import logging

import grpc
from starlette.types import ASGIApp

from services.common import serving
from services.gateway.fronts.http import HttpFront


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether grpc's own log record says more than that a caller left before its status could be sent."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


class GrpcioFront:
    """Two servers on the event loop that the rest of the gateway runs on."""

    def __init__(
        self,
        *,
        host: str,
        grpc_port: int,
        http_port: int,
        max_request_bytes: int,
        drain_timeout_s: float,
        reuse_port: bool = False,
    ) -> None:
        options = dict(serving.SERVER_OPTIONS) | {
            "grpc.max_receive_message_length": max_request_bytes,
            "grpc.so_reuseport": int(reuse_port),
        }
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_a_line)
        self.server = grpc.aio.server(options=list(options.items()))
        self.grpc_port = grpc_port
        self.http_port = http_port
        self._host = host
        self._drain_timeout_s = drain_timeout_s
        self._reuse_port = reuse_port

    def open(self, rest: ASGIApp) -> None:
        self.grpc_port = serving.bind(self.server, f"{self._host}:{self.grpc_port}")
        self._http = HttpFront(
            rest,
            host=self._host,
            port=self.http_port,
            drain_timeout_s=self._drain_timeout_s,
            reuse_port=self._reuse_port,
        )
        self.http_port = self._http.port

    async def run_until_stopped(self) -> None:
        await self.server.start()
        await self._http.run_until_stopped()

    async def stop(self, grace_s: float) -> None:
        self._http.stop()
        await self.server.stop(grace_s)
        await self._http.stopped.wait()
