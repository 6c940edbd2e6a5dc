"""A deployed model's promise is changed, and nothing else with it, whatever others do meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Client
from penstock.errors import AbortedError, NotFoundError
from penstock.registry.v1.resources_pb2 import Slo
from tests.support import commands
from tests.support.registry import Registry, running_registry

PROMISE = Slo(availability=0.999)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """One that has ``digits`` deployed."""
    async with running_registry(tmp_path) as running:
        await running.deploy("digits")
        yield running


def promised(registry: Registry, *options: str) -> Any:
    done = commands.run(os.environ, "slo", "digits", *options, "--registry", registry.address, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_a_version_that_was_deployed_meanwhile_stays(registry: Registry) -> None:
    second = await registry.create_ready_version("digits", b"second")

    def change() -> list[str]:
        with Client(registry=registry.address) as client:
            before = client.deployment("digits")
            client.deploy("digits", second.name, wait=False)
            with pytest.raises(AbortedError):
                client.set_slo("digits", PROMISE, etag=before.etag)
            return list(client.set_slo("digits", PROMISE).versions)

    assert await asyncio.to_thread(change) == [second.name]


async def test_a_model_that_was_undeployed_meanwhile_stays_so(registry: Registry) -> None:
    def change() -> int:
        with Client(registry=registry.address) as client:
            client.undeploy("digits")
            with pytest.raises(NotFoundError):
                client.set_slo("digits", PROMISE)
            return len(client.deployments())

    assert await asyncio.to_thread(change) == 0


async def test_the_command_changes_what_its_options_name(registry: Registry) -> None:
    await asyncio.to_thread(promised, registry, "--availability", "0.999")
    both = await asyncio.to_thread(promised, registry, "--latency", "0.2")

    assert (both["availability"], both["latency_seconds"], both["latency_share"]) == (0.999, 0.2, 0.99)
    assert await asyncio.to_thread(promised, registry) == both
