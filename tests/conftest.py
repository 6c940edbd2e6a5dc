"""Fixtures that any test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.certificates import Certificates
from tests.support.consul import ConsulServer
from tests.support.redis_server import RedisServer

# How long an example takes depends on what else the machine does.
settings.register_profile("penstock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("penstock")


os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests load models in their own process too

# Nothing that tests start is to meet a Consul that it wasn't told of.
for _name in [name for name in os.environ if name.startswith("CONSUL_")]:
    del os.environ[_name]


_PATIENCE_S = {"integration": 120, "e2e": 240, "formats": 240}
"""What starts processes, or imports large libraries, takes its time on a busy machine, the first above all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that say nothing themselves the time of their folder."""
    here = Path(__file__).parent
    for item in items:
        patience_s = _PATIENCE_S.get(item.path.relative_to(here).parts[0])
        if patience_s is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(patience_s))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whoever runs tests one by one needs no xdist."""
    from tests.support.scheduling import SuiteScheduling

    return SuiteScheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(_shared_redis: RedisServer) -> str:
    """An empty Redis; don't kill it, others use it after you."""
    _shared_redis.flush()
    return _shared_redis.url


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of your own, to be killed and restarted."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def consul() -> Iterator[ConsulServer]:
    """A Consul of your own, which forgets everything when it ends."""
    with ConsulServer() as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))
