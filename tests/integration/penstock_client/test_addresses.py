"""The Python client calls whichever of several registries answers, named by a list or by Consul."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock import Client
from penstock.errors import ConnectionFailedError
from tests.support.consul import ConsulServer
from tests.support.ports import free_port
from tests.support.registry import RegistryProcess, running_registry
from tests.support.waiting import eventually


async def test_one_that_is_away_is_passed_over(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as registry:
        await registry.create_model("here")
        for addresses in (
            f"127.0.0.1:{free_port()},{registry.address}",
            f"{registry.address}, localhost:{free_port()}",
        ):
            assert await asyncio.to_thread(models, addresses) == ["models/here"]


async def test_the_next_is_called_when_the_one_in_use_is_gone(tmp_path: Path) -> None:
    async with running_registry(tmp_path / "two") as two:
        async with running_registry(tmp_path / "one") as one:
            await one.create_model("first")
            await two.create_model("second")
            client = Client(registry=f"{one.address},{two.address}")
            assert [model.name for model in await asyncio.to_thread(client.models)] == ["models/first"]
        assert [model.name for model in await asyncio.to_thread(client.models)] == ["models/second"]
        client.close()


def models(addresses: str) -> list[str]:
    with Client(registry=addresses) as client:
        return [model.name for model in client.models()]


def test_consul_says_where_the_registry_is(
    consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    with RegistryProcess(tmp_path) as registry:
        eventually(lambda: consul.healthy("penstock-registry"))
        with Client() as client:
            assert client.endpoints.registry == registry.address
            assert client.endpoints.gateway == "127.0.0.1:8001"  # Consul knows none
            assert client.models() == []
        with Client(registry="other:1") as client:
            assert client.endpoints.registry == "other:1"
        monkeypatch.setenv("PENSTOCK_REGISTRY_ADDRESS", "another:1")
        with Client() as client:
            assert client.endpoints.registry == "another:1"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:///nowhere", "no port:x"])
def test_a_consul_that_cannot_be_asked_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", address)
    with pytest.raises(ConnectionFailedError, match=f"the Consul does not answer at {address}"):
        Client()
