"""Two of each part, which find each other through a real Consul."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import Client
from penstock.errors import UnavailableError
from tests.support import models
from tests.support.fleet import Fleet
from tests.support.load import identity_load
from tests.support.waiting import eventually


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """With ``slow`` deployed, so that requests are always under way."""
    with Fleet(registry=2, monitor=2, inference=2, gateway=2) as fleet, fleet.client() as client:
        version = client.create_version("slow", client.upload(models.slow_onnx(tmp_path / "slow.onnx", loops=5_000)))
        client.wait_validated(version.name)
        client.deploy("slow", version.name)
        yield fleet


async def test_traffic_survives_the_loss_of_consul_and_of_one_of_each_part(fleet: Fleet) -> None:
    left, stayed = (gateway.address for gateway in fleet.parts["gateway"])
    async with identity_load(stayed, model="slow", clients=4) as staying:
        async with identity_load(left, model="slow", clients=4) as leaving:
            await leaving.more(50)
            fleet.consul.kill()
            await leaving.more(50)
            await staying.more(50)
            fleet.parts["gateway"][0].kill()
        fleet.parts["inference"][0].kill()
        await staying.more(100)

        await asyncio.to_thread(fleet.consul.start)
        await asyncio.to_thread(fleet.wait_until_healthy)
        await staying.more(50)
        for part in ("gateway", "inference"):
            fleet.parts[part][0].start()
        await asyncio.to_thread(fleet.wait_until_healthy)
        await staying.more(50)

        # In alphabetical order, as those do who send to them.
        first, second = sorted(fleet.parts["monitor"], key=lambda part: f"127.0.0.1:{part.ports['OTLP_PORT']}")
        await asyncio.to_thread(eventually, lambda: has_figures(first.address))
        first.kill()
        await asyncio.to_thread(eventually, lambda: has_figures(second.address))
    assert (leaving.wrong, staying.wrong, dict(staying.errors)) == (0, 0, {})
    assert all(error.startswith("StatusCode.UNAVAILABLE") for error in leaving.errors)
    fleet.parts["registry"][0].kill()
    await asyncio.to_thread(eventually, lambda: fleet.healthy()["registry"] == 1)
    assert shown_by_the_command(fleet) == ["models/slow/versions/1"]
    with fleet.client() as client:
        await asyncio.to_thread(eventually, lambda: is_undeployed(client))
        await asyncio.to_thread(eventually, lambda: not client.is_ready("slow"))


def has_figures(address: str) -> bool:
    """Whether spans of batches reached this monitor."""
    with Client(monitor=address) as client:
        return any(one.request_count for one in client.figures(model="slow"))


def is_undeployed(client: Client) -> bool:
    """Whether the registry that is left did so; it may have to become the writer first."""
    with contextlib.suppress(UnavailableError):
        client.undeploy("slow")
        return True
    return False


def shown_by_the_command(fleet: Fleet) -> list[str]:
    """The models, by the registry that Consul knows."""
    environ = {name: value for name, value in fleet.environ.items() if not name.startswith("PENSTOCK_")}
    command = [sys.executable, "-m", "penstock", "models", "--json"]
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    return [model["version"]["name"] for model in json.loads(done.stdout)]
