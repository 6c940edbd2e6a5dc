"""A registry on each database, and the stub to talk to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.postgresql import Postgresql, PostgresqlUnavailableError, running_postgresql
from tests.support.registry import Registry, running_registry


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgresql())
        except PostgresqlUnavailableError as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
        return
    with request.getfixturevalue("postgresql").database() as url:
        yield url


@pytest.fixture
async def registry(database_url: str, tmp_path: Path) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path, database_url=database_url) as running:
        yield running
