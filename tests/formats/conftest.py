"""Tests of formats with heavy libraries: `make test-formats` runs them where these are; elsewhere they are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from penstock.client import Client
from tests.support.suite import Suite

Arrays = Mapping[str, NDArray[Any]]
Asking = Callable[..., Arrays]


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    """One running suite for all tests of a format through the gateway."""
    with Suite() as running:
        yield running


@pytest.fixture
def ask(suite: Suite, request: pytest.FixtureRequest) -> Asking:
    """Deploys a model by the command, with its options, and asks it through the gateway."""

    def answer(path: Path, inputs: Arrays, *options: str) -> Arrays:
        name = request.node.name.partition("[")[0].replace("_", "-")
        suite.command("deploy", str(path), "--name", name, *options, "--wait")
        with Client(gateway=suite.grpc_address, registry=suite.registry_address) as client:
            outputs = client.infer(name, inputs)
            client.undeploy(name)
        return dict(outputs)

    return answer
