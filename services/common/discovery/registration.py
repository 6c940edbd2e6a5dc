"""What a process tells Consul of itself."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.endpoints import joined

GATEWAY, INFERENCE = "penstock-gateway", "penstock-inference"
REGISTRY, MONITOR = "penstock-registry", "penstock-monitor"
"""Names of the services in Consul."""
OTLP_PORT = "otlp_port"
"""The monitor's port for spans, among its further ``ports``."""


class CheckKind(enum.Enum):
    """How Consul finds out whether a process is well."""

    GRPC = "grpc.health.v1"
    GRPC_TLS = "grpc.health.v1 over TLS, whatever the certificate"
    TCP = "whether the port is open, where only clients with a certificate may ask for more"


@dataclass(frozen=True, slots=True)
class Registration:
    """One instance of a service, where others reach it; ``host`` is without brackets."""

    service: str
    host: str
    port: int
    check: CheckKind = CheckKind.GRPC
    ports: Mapping[str, int] = field(default_factory=dict)
    """Further ports by name."""

    @property
    def id(self) -> str:
        return f"{self.service}-{self.host}-{self.port}"

    @property
    def address(self) -> str:
        return joined(self.host, self.port)
