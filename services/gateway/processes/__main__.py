"""``python -m services.gateway.processes INDEX``: one of the processes; the parent starts it, and is at its input."""

from __future__ import annotations

import asyncio
import socket
import sys

from services.common import logs, serving, settings
from services.gateway.processes.member import Membership
from services.gateway.server import serve
from services.gateway.settings import GatewaySettings


async def main(stop: asyncio.Event) -> None:
    suite, own = settings.load(GatewaySettings)
    logs.configure("penstock-gateway", suite.log_level)
    await serve(stop, suite, own, Membership(socket.socket(fileno=sys.stdin.fileno())))


if __name__ == "__main__":
    serving.run(main)
