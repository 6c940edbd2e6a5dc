"""A gRPC server of the monitor, with its health."""

from __future__ import annotations

import grpc

from services.common import serving

_MAX_CALLS = 1_000
"""Above it gRPC refuses by itself, without saying when to come again; watches count too."""
_GRACE_S = 1.0


class GrpcServer:
    """Says NOT_SERVING until it is started. Servicers are added to ``grpc`` before that."""

    def __init__(self, service: str, *, max_message_bytes: int = serving.INT32_MAX) -> None:
        """``service`` is what it serves beside health and reflection, by its full name."""
        limit = "grpc.max_receive_message_length"
        options = [option for option in serving.SERVER_OPTIONS if option[0] != limit]
        self.port = 0
        self.grpc = grpc.aio.server(options=[*options, (limit, max_message_bytes)], maximum_concurrent_rpcs=_MAX_CALLS)
        self._health = serving.Health(service)

    async def start(self, address: str) -> None:
        """Serve at ``host:port``.

        Raises:
            SystemExit: the address is taken.
        """
        await self._health.attach(self.grpc)
        self.port = serving.bind(self.grpc, address)
        await self.grpc.start()
        await self._health.set_serving(is_serving=True)

    async def stop(self) -> None:
        """Let calls under way finish, for a moment. May be called twice."""
        await self._health.leave()
        await self.grpc.stop(_GRACE_S)
