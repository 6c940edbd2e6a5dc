"""What all fronts are: a gRPC server, and uvicorn for REST, on the event loop that the rest of the gateway runs on."""

from __future__ import annotations

import asyncio
import tempfile
from abc import ABC, abstractmethod

import grpc
from starlette.types import ASGIApp

from penstock.endpoints import local_host
from services.gateway.fronts import FrontOptions
from services.gateway.fronts.http import HttpFront


class Front(ABC):
    """Serves the public APIs of one gateway."""

    def __init__(self, server: grpc.aio.Server, options: FrontOptions) -> None:
        self.server = server
        """What the public servicers are added to, before :meth:`open`."""
        self.grpc_port = options.grpc_port
        self.http_port = options.http_port
        self.own_address = ""
        """Where this process calls its own gRPC API once that is open: without TLS, so with TLS a socket of its own."""
        self.is_open = asyncio.Event()
        """Set when connections are taken."""
        self._options = options
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @abstractmethod
    def _take_grpc_port(self, options: FrontOptions) -> int:
        """Take the port of the public API, or exit when it is taken."""

    def open(self, rest: ASGIApp) -> None:
        """Take the ports, so that a taken one is found before anything runs.

        Raises:
            SystemExit: a port is taken, or a file of the TLS settings is not what it must be.
        """
        options = self._options
        self.grpc_port = self._take_grpc_port(options)
        self.own_address = f"{local_host(options.host)}:{self.grpc_port}"
        if options.tls is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="penstock-gateway-")  # for its owner only
            self.own_address = f"unix:{self._folder.name}/grpc.sock"
            self.server.add_insecure_port(self.own_address)
        self._http = HttpFront(rest, options)
        self.http_port = self._http.port

    async def run_until_stopped(self) -> None:
        """Serve until :meth:`stop`."""
        await self.server.start()
        await self._http.run_until_stopped(self.is_open.set)

    async def stop(self, grace_s: float) -> None:
        """Take no new requests; wait for those under way, ``grace_s`` at most."""
        self._http.stop()
        await self.server.stop(grace_s)
        await self._http.stopped.wait()
        if self._folder is not None:
            self._folder.cleanup()
