"""What hosts the servicers and the REST application; they don't know which one it is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Protocol

import grpc
from starlette.types import ASGIApp

from services.gateway.fronts.grpc_requests import Reserve, nowhere
from services.gateway.fronts.tls import Tls


@dataclass(frozen=True, slots=True)
class FrontOptions:
    """Where and how a front serves."""

    host: str
    grpc_port: int
    http_port: int
    max_request_bytes: int
    drain_timeout_s: float
    tls: Tls | None = None
    reuse_port: bool = False
    """Whether other processes listen on the same ports."""
    reserve: Reserve = nowhere
    """Makes room for a message that comes in pieces."""


class OwnDoor:
    """A Unix socket that nobody else's processes can open."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-gateway-")  # for its owner only
        self.path = f"{self._folder.name}/grpc.sock"

    def close(self) -> None:
        self._folder.cleanup()


class Front(Protocol):
    """Serves the public APIs of one gateway."""

    @property
    def server(self) -> grpc.aio.Server:
        """What the public servicers are added to, before :meth:`open`."""

    grpc_port: int
    http_port: int
    own_address: str
    """Where this process calls its own gRPC API, once that is open: without TLS, so with TLS a socket of its own."""

    def open(self, rest: ASGIApp) -> None:
        """Take the ports, so that a taken one is found before anything runs.

        Raises:
            SystemExit: a port is taken, or a file of the TLS settings is not what it must be.
        """

    async def run_until_stopped(self) -> None:
        """Serve until :meth:`stop`."""

    async def stop(self, grace_s: float) -> None:
        """Take no new requests; wait for those under way, ``grace_s`` at most."""
