"""A gateway is in Consul while it serves, whatever speaks on its port, and leaves before it goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.common.discovery.registration import CheckKind
from services.common.settings import SuiteSettings
from services.gateway.announcement import registration
from services.gateway.settings import GatewaySettings
from tests.integration.gateway.conftest import FRONTS, open_stage
from tests.support.certificates import Certificates
from tests.support.consul import ConsulServer
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.waiting import eventually

SERVICE = "penstock-gateway"


@pytest.fixture(scope="module")
def shared_consul() -> Iterator[ConsulServer]:
    with ConsulServer() as server:
        yield server


@pytest.mark.parametrize("front", FRONTS)
def test_consul_asks_for_its_health(front: str, shared_consul: ConsulServer) -> None:
    consul = shared_consul
    with open_stage(PENSTOCK_GATEWAY__FRONT=front, CONSUL_HTTP_ADDR=consul.address) as stage:
        port = stage.gateway.ports["GRPC"]
        eventually(lambda: consul.healthy(SERVICE) == {port})
        (found,) = consul.ask(f"/v1/health/service/{SERVICE}")
        assert found["Service"]["ID"] == f"{SERVICE}-127.0.0.1-{port}"
        assert found["Service"]["Meta"]["http_port"] == str(stage.gateway.ports["HTTP"])
        assert stage.gateway.scrape()["penstock_discovery_consul_up"] == 1

        stage.redis.kill()
        eventually(lambda: not consul.healthy(SERVICE))
        stage.redis.start()
        eventually(lambda: consul.healthy(SERVICE))

        assert stage.gateway.terminate() == 0
        assert consul.services() == set()


@pytest.mark.parametrize("front", FRONTS)
def test_with_tls_and_two_processes_it_is_one(
    front: str, shared_consul: ConsulServer, certificates: Certificates
) -> None:
    settings = {
        **certificates.server.gateway_settings,
        "PENSTOCK_GATEWAY__PROCESSES": "2",
        "PENSTOCK_GATEWAY__FRONT": front,
        "CONSUL_HTTP_ADDR": shared_consul.address,
    }
    with RedisServer() as redis, ScriptedRegistry() as registry:
        gateway = GatewayProcess(redis_url=redis.url, registry_address=registry.address, **settings)
        gateway.start()
        try:
            eventually(lambda: shared_consul.healthy(SERVICE) == {gateway.ports["GRPC"]})
            assert len(shared_consul.services()) == 1
            assert gateway.terminate() == 0
            assert shared_consul.services() == set()
        finally:
            gateway.__exit__(None, None, None)


def test_clients_certificates_keep_consul_out_so_that_it_looks_at_the_port() -> None:
    files = {"tls_certificate": "c", "tls_key": "k"}
    for settings, kind in (
        (GatewaySettings(), CheckKind.GRPC),
        (GatewaySettings(**files), CheckKind.GRPC_TLS),
        (GatewaySettings(**files, tls_client_ca="a"), CheckKind.TCP),
    ):
        assert registration(SuiteSettings(), settings, grpc=1, http=2).check is kind
