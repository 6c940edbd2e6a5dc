from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.endpoints import PORTS
from tests.support.front import FRONT
from tests.support.ports import free_port


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home and ports of one's own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    ports = {port.variable: str(free_port()) for port in PORTS}
    return {**inherited, **ports, **FRONT, "PENSTOCK_HOME": str(tmp_path / "home")}
