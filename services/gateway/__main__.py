"""``python -m services.gateway``: the front door."""

from __future__ import annotations

import sys
from typing import NoReturn

from services.common import logs, settings
from services.common.settings import SuiteSettings
from services.gateway.settings import GatewaySettings, environment_with


def main() -> None:
    try:
        suite, own = settings.load(GatewaySettings)
    except ValueError as error:
        sys.exit(str(error))
    if own.front == "envoy":
        _become_envoy(suite, own)
    logs.configure("penstock-gateway", suite.log_level)
    if own.process_count > 1:
        from services.gateway.processes.server import run

        run(suite, own)
    from services.common import serving  # slow, and nothing for a process that only keeps others
    from services.gateway.server import serve

    serving.run(lambda stop: serve(stop, suite, own))


def _become_envoy(suite: SuiteSettings, own: GatewaySettings) -> NoReturn:
    from services.gateway.fronts import envoy

    host, (grpc_port, http_port) = envoy.free_address(suite.bind, own.grpc_port, own.http_port)
    ports = {"PENSTOCK_GATEWAY__GRPC_PORT": str(grpc_port), "PENSTOCK_GATEWAY__HTTP_PORT": str(http_port)}
    envoy.become_envoy(
        "services.gateway.hosted:application",
        environment_with(ports),
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        threads=own.envoy_threads,
    )


if __name__ == "__main__":
    main()
