"""The front that needs nothing of ours: grpc.aio for gRPC, uvicorn for REST."""

from __future__ import annotations

import logging
import sys

import grpc
from starlette.types import ASGIApp

from penstock.endpoints import local_host
from services.common import serving
from services.gateway.fronts import FrontOptions, OwnDoor
from services.gateway.fronts.http import HttpFront


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether grpc's own log record says more than that a caller left before its status could be sent."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


class GrpcioFront:
    """Two servers on the event loop that the rest of the gateway runs on."""

    def __init__(self, options: FrontOptions) -> None:
        wanted = dict(serving.SERVER_OPTIONS) | {
            "grpc.max_receive_message_length": options.max_request_bytes,
            "grpc.so_reuseport": int(options.reuse_port),
            # Over 1,000 calls that Python has not taken up yet, grpc would cancel some; how many wait is ours to bound.
            "grpc.server.max_pending_requests": serving.INT32_MAX,
            "grpc.server.max_pending_requests_hard_limit": serving.INT32_MAX,
        }
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_a_line)
        self.server = grpc.aio.server(options=list(wanted.items()))
        self.grpc_port = options.grpc_port
        self.http_port = options.http_port
        self.own_address = ""
        self._options = options
        self._door: OwnDoor | None = None

    def open(self, rest: ASGIApp) -> None:
        address = f"{self._options.host}:{self.grpc_port}"
        if self._options.tls is None:
            self.grpc_port = serving.bind(self.server, address)
            self.own_address = f"{local_host(self._options.host)}:{self.grpc_port}"
        else:
            self._door = OwnDoor()
            self.own_address = f"unix:{self._door.path}"
            try:
                self.grpc_port = self.server.add_secure_port(address, self._options.tls.credentials())
                self.server.add_insecure_port(self.own_address)
            except RuntimeError:
                sys.exit(f"can't listen on {address}: another program does, or the address isn't this machine's")
        self._http = HttpFront(rest, self._options)
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
