from __future__ import annotations

import importlib

import pytest

from penstock.endpoints import PORTS, Endpoints, Port, target
from services.common.settings import PREFIX


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.variable)
def test_ports_are_those_of_the_services_settings(port: Port) -> None:
    settings = importlib.import_module(f"services.{port.service}.settings")
    prefix = f"{PREFIX}{port.service.upper()}__"
    (section,) = (
        one for one in vars(settings).values() if getattr(one, "model_config", {}).get("env_prefix") == prefix
    )
    field = port.variable.removeprefix(prefix).lower()
    assert section.model_fields[field].default == port.default


def test_every_port_of_the_settings_is_known() -> None:
    known = {port.variable for port in PORTS}
    for service in {port.service for port in PORTS}:
        settings = importlib.import_module(f"services.{service}.settings")
        prefix = f"{PREFIX}{service.upper()}__"
        for one in vars(settings).values():
            if getattr(one, "model_config", {}).get("env_prefix") == prefix:
                listening = {
                    name for name, field in one.model_fields.items() if name.endswith("port") and field.default
                }
                assert {f"{prefix}{name.upper()}" for name in listening} <= known


def test_addresses_follow_the_services_settings() -> None:
    at = Endpoints.from_environ({"PENSTOCK_GATEWAY__GRPC_PORT": "9001", "PENSTOCK_BIND": "0.0.0.0"})
    assert at.gateway == "127.0.0.1:9001"
    assert at.registry == "127.0.0.1:8021"


def test_given_address_wins() -> None:
    environ = {"PENSTOCK_GATEWAY__GRPC_PORT": "9001", "PENSTOCK_GATEWAY_ADDRESS": "far:1"}
    assert Endpoints.from_environ(environ).gateway == "far:1"


def test_ipv6_host_is_bracketed() -> None:
    assert Endpoints.from_environ({"PENSTOCK_BIND": "::"}).gateway == "[::1]:8001"
    assert Endpoints.from_environ({"PENSTOCK_BIND": "fe80::1"}).gateway == "[fe80::1]:8001"


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", "8001.0"])
def test_bad_port_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"PENSTOCK_MONITOR__PORT is '{text}'"):
        Endpoints.from_environ({"PENSTOCK_MONITOR__PORT": text})


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ("somewhere:1", "somewhere:1"),
        ("somewhere:1,", "somewhere:1"),
        ("10.0.0.1:1, 10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2"),
        ("[::1]:1,[::2]:2", "ipv6:[::1]:1,[::2]:2"),
        ("10.0.0.1:1,[::1]:2", "ipv6:[::ffff:10.0.0.1]:1,[::1]:2"),
    ],
)
def test_a_list_of_addresses_is_a_target_of_grpc(addresses: str, expected: str) -> None:
    assert target(addresses) == expected
