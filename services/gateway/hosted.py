"""The gateway inside Envoy: what pyvoy loads."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from services.common import logs, settings
from services.gateway.fronts.envoy import EnvoyFront
from services.gateway.fronts.hosting import HostedService
from services.gateway.server import serve
from services.gateway.settings import GatewaySettings


def _begin(stop: asyncio.Event) -> tuple[EnvoyFront, Coroutine[Any, Any, None]]:
    suite, own = settings.load(GatewaySettings)
    logs.configure("penstock-gateway", suite.log_level)
    front = EnvoyFront(grpc_port=own.grpc_port, http_port=own.http_port, max_request_bytes=own.max_request_bytes)
    return front, serve(stop, suite, own, front)


application = HostedService(_begin)
