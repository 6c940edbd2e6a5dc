"""Where the parts of a suite listen, and how the environment moves them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a service listens on: what for, the variable that moves it, and where it is by default."""

    service: str
    purpose: str
    variable: str
    default: int

    def number(self, environ: Mapping[str, str]) -> int:
        """The port as the environment has it.

        Raises:
            ValueError: the variable holds no port number.
        """
        text = environ.get(self.variable) or str(self.default)
        if not (text.isdecimal() and 0 < int(text) < 65_536):
            raise ValueError(f"{self.variable} is {text!r}, expected a port number from 1 to 65535")
        return int(text)


GATEWAY_HTTP = Port("gateway", "REST", "PENSTOCK_GATEWAY__HTTP_PORT", 8000)
GATEWAY_GRPC = Port("gateway", "gRPC", "PENSTOCK_GATEWAY__GRPC_PORT", 8001)
GATEWAY_METRICS = Port("gateway", "metrics", "PENSTOCK_GATEWAY__METRICS_PORT", 8002)
GATEWAY_INTERNAL = Port("gateway", "internal gRPC", "PENSTOCK_GATEWAY__INTERNAL_PORT", 8003)
INFERENCE = Port("inference", "gRPC", "PENSTOCK_INFERENCE__PORT", 8011)
INFERENCE_METRICS = Port("inference", "metrics", "PENSTOCK_INFERENCE__METRICS_PORT", 8012)
REGISTRY = Port("registry", "gRPC", "PENSTOCK_REGISTRY__PORT", 8021)
REGISTRY_METRICS = Port("registry", "metrics", "PENSTOCK_REGISTRY__METRICS_PORT", 8022)
MONITOR_OTLP = Port("monitor", "OTLP", "PENSTOCK_MONITOR__OTLP_PORT", 4317)
MONITOR_OTLP_HTTP = Port("monitor", "OTLP/HTTP", "PENSTOCK_MONITOR__OTLP_HTTP_PORT", 4318)
MONITOR = Port("monitor", "gRPC", "PENSTOCK_MONITOR__PORT", 8031)
MONITOR_METRICS = Port("monitor", "metrics", "PENSTOCK_MONITOR__METRICS_PORT", 8032)

PORTS = (
    GATEWAY_HTTP, GATEWAY_GRPC, GATEWAY_METRICS, GATEWAY_INTERNAL, INFERENCE, INFERENCE_METRICS,
    REGISTRY, REGISTRY_METRICS, MONITOR_OTLP, MONITOR_OTLP_HTTP, MONITOR, MONITOR_METRICS,
)  # fmt: skip

CLIENT_VARIABLES = {
    "gateway": "PENSTOCK_GATEWAY_ADDRESS",
    "gateway_http": "PENSTOCK_GATEWAY_HTTP_ADDRESS",
    "gateway_metrics": "PENSTOCK_GATEWAY_METRICS_ADDRESS",
    "inference": "PENSTOCK_INFERENCE_ADDRESS",
    "monitor": "PENSTOCK_MONITOR_ADDRESS",
}
"""Where clients find the parts of a suite that is elsewhere."""

GATEWAY_CA = "PENSTOCK_GATEWAY_CA"
GATEWAY_CLIENT_CERTIFICATE = "PENSTOCK_GATEWAY_CLIENT_CERTIFICATE"
GATEWAY_CLIENT_KEY = "PENSTOCK_GATEWAY_CLIENT_KEY"
GATEWAY_SERVER_NAME = "PENSTOCK_GATEWAY_SERVER_NAME"
TLS_VARIABLES = (GATEWAY_CA, GATEWAY_CLIENT_CERTIFICATE, GATEWAY_CLIENT_KEY, GATEWAY_SERVER_NAME)
"""How clients speak TLS with a gateway."""
GATEWAY_TLS_CERTIFICATE = "PENSTOCK_GATEWAY__TLS_CERTIFICATE"
"""The gateway's own setting: where it is set, this gateway speaks TLS."""

ACTOR = "PENSTOCK_ACTOR"
"""Who changes something, for the registry's audit log."""

KEY_PASSWORD = "PENSTOCK_KEY_PASSWORD"  # noqa: S105 - its name
"""Of the private key that `penstock sign` uses."""

NOT_FOR_SERVICES = frozenset({*CLIENT_VARIABLES.values(), *TLS_VARIABLES, ACTOR, KEY_PASSWORD, "PENSTOCK_TORCH_INDEX"})
"""Variables that clients and the set-up read; services know them, lest they pass for misspelt settings."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses, "host:port", that a client calls."""

    registry: str
    gateway: str
    gateway_http: str
    gateway_metrics: str
    inference: str
    monitor: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """As ``PENSTOCK_<PART>_ADDRESS`` say; else on this machine, at the ports that the services' settings name.

        Raises:
            ValueError: a variable holds no port number.
        """
        given = os.environ if environ is None else environ
        host = local_host(given.get("PENSTOCK_BIND") or "127.0.0.1")

        def address(variable: str, port: Port) -> str:
            return given.get(variable) or f"{host}:{port.number(given)}"

        return cls(
            registry=address("PENSTOCK_REGISTRY_ADDRESS", REGISTRY),
            gateway=address(CLIENT_VARIABLES["gateway"], GATEWAY_GRPC),
            gateway_http=address(CLIENT_VARIABLES["gateway_http"], GATEWAY_HTTP),
            gateway_metrics=address(CLIENT_VARIABLES["gateway_metrics"], GATEWAY_METRICS),
            inference=address(CLIENT_VARIABLES["inference"], INFERENCE),
            monitor=address(CLIENT_VARIABLES["monitor"], MONITOR),
        )


def joined(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 host."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def target(addresses: str) -> str:
    """What grpc is to call: an address as it stands; of several, whichever answers, and the next when it does no more.

    Host names in a list are looked up now; those that nobody knows are left out.
    """
    several = [one.strip() for one in addresses.split(",") if one.strip()]
    if len(several) < 2:
        return addresses.strip(" ,")
    found = [place for one in several for place in _looked_up(one)]
    if not found:
        return several[0]
    if all(":" not in host for host, _ in found):
        return "ipv4:" + ",".join(f"{host}:{port}" for host, port in found)
    return "ipv6:" + ",".join(f"[{host if ':' in host else f'::ffff:{host}'}]:{port}" for host, port in found)


def _looked_up(address: str) -> list[tuple[str, int]]:
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(str(place[0]), int(place[1])) for *_, place in found]


def local_host(bind: str) -> str:
    """The host under which this machine reaches a server that listens on ``bind``."""
    if bind in ("0.0.0.0", ""):
        return "127.0.0.1"
    if ":" in bind:
        return "[::1]" if bind.strip("[]") == "::" else f"[{bind.strip('[]')}]"
    return bind
