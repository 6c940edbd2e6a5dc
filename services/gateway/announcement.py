"""What a gateway says of itself in Consul."""

from __future__ import annotations

from services.common.discovery.registration import GATEWAY, CheckKind, Registration
from services.common.settings import SuiteSettings
from services.gateway.settings import GatewaySettings


def registration(suite: SuiteSettings, settings: GatewaySettings, *, grpc: int, http: int) -> Registration:
    """Of the gateway that listens on these public ports, be it one process or several."""
    check = CheckKind.GRPC
    if settings.tls_client_ca is not None:
        check = CheckKind.TCP
    elif settings.tls_certificate is not None:
        check = CheckKind.GRPC_TLS
    return Registration(GATEWAY, suite.reachable_host, grpc, check=check, ports={"http_port": http})
