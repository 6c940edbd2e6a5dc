"""What hosts the servicers and the REST application; they don't know which one it is."""

from __future__ import annotations

from typing import Protocol

import grpc
from starlette.types import ASGIApp


class Front(Protocol):
    """Serves the public APIs of one gateway."""

    @property
    def server(self) -> grpc.aio.Server:
        """What the public servicers are added to, before :meth:`open`."""

    grpc_port: int
    http_port: int

    def open(self, rest: ASGIApp) -> None:
        """Take the ports, so that a taken one is found before anything runs.

        Raises:
            SystemExit: a port is taken.
        """

    async def run_until_stopped(self) -> None:
        """Serve until :meth:`stop`."""

    async def stop(self, grace_s: float) -> None:
        """Take no new requests; wait for those under way, ``grace_s`` at most."""
