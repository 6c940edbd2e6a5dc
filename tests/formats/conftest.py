"""Tests of formats with heavy libraries: `make test-formats` runs them where these are; elsewhere they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.suite import Suite

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Libraries of this size take their time to be imported, and the suite to start, on a busy machine."""
    for item in items:
        if item.path.is_relative_to(_HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    """One running suite for all tests of a format through the gateway."""
    with Suite() as running:
        yield running
