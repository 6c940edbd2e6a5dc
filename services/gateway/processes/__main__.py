"""``python -m services.gateway.processes INDEX``: one of the processes; the parent starts it, and is at its input."""

from __future__ import annotations

import socket
import sys

from services.common import logs, serving, settings
from services.gateway.keeper import Keeper
from services.gateway.processes.member import Membership
from services.gateway.server import serve
from services.gateway.settings import GatewaySettings


async def main(stop: serving.Stop) -> None:
    suite, own = settings.load(GatewaySettings)
    logs.configure("penstock-gateway", suite.log_level, suite.log_format)
    parent = socket.socket(fileno=sys.stdin.fileno())
    keeper = Keeper.from_message(parent)
    await serve(stop, suite, own, keeper=keeper, membership=Membership(parent))


if __name__ == "__main__":
    serving.run(main)
