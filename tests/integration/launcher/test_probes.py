"""How the launcher learns that a gateway is ready which TLS may keep it out of."""

from __future__ import annotations

import asyncio

import pytest

from penstock.launcher import probes
from tests.support.certificates import Certificates
from tests.support.gateway_process import GatewayProcess
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.scripted_registry import ScriptedRegistry


async def _becomes(is_ready: bool, gateway: GatewayProcess) -> None:
    async with asyncio.timeout(30):
        while await probes.says_ready(gateway.http, metrics=gateway.metrics) is not is_ready:  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_gateway_is_ready_while_it_takes_requests(
    redis_server: RedisServer, certificates: Certificates, processes: str
) -> None:
    settings = {"PENSTOCK_GATEWAY__PROCESSES": processes, **certificates.server.gateway_settings}
    with (
        ScriptedRegistry() as registry,
        GatewayProcess(redis_url=redis_server.url, registry_address=registry.address, **settings) as gateway,
    ):
        await _becomes(True, gateway)
        assert not await probes.says_ready(f"127.0.0.1:{free_port()}", metrics=gateway.metrics)
        assert not await probes.says_ready(gateway.http, metrics=f"127.0.0.1:{free_port()}")
        redis_server.kill()
        await _becomes(False, gateway)
