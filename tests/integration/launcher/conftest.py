from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import Client
from penstock.endpoints import PORTS
from tests.support.front import FRONT
from tests.support.ports import free_port
from tests.support.suite import Suite


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home and ports of one's own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    ports = {port.variable: str(free_port()) for port in PORTS}
    return {**inherited, **ports, **FRONT, "PENSTOCK_HOME": str(tmp_path / "home")}


@pytest.fixture
def client(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The Python client, which finds the test module's suite by its variables."""
    for name, value in suite.environ.items():
        if name.startswith("PENSTOCK_"):
            monkeypatch.setenv(name, value)
    with Client() as made:
        yield made
