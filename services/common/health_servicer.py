"""``grpc.health.v1`` on asyncio: tells the truth to all that ask or watch, and waits for none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServicer(health_pb2_grpc.HealthServicer):
    """The state of each service by name. Watches end when the process leaves, lest they hold their connections."""

    def __init__(self) -> None:
        self._states: dict[str, int] = {}
        self._news = asyncio.Event()
        self._is_leaving = False

    def set(self, names: Iterable[str], state: int) -> None:
        """Say so from now on; nothing changes once the process is leaving."""
        if not self._is_leaving:
            self._states.update(dict.fromkeys(names, state))
            self._tell()

    def leave(self) -> None:
        """End all watches, each with the last state as its last word."""
        self._is_leaving = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(self, request: Any, context: Any) -> None:
        told = None
        while True:
            news, state = self._news, self._states.get(request.service, _SERVICE_UNKNOWN)
            if state != told:
                await context.write(health_pb2.HealthCheckResponse(status=state))
                told = state
            elif self._is_leaving:
                return
            else:
                await news.wait()
