"""gRPC ignores options that it doesn't know; so a misspelt one must be caught here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from grpc._cython import cygrpc

ROOT = Path(__file__).resolve().parents[3]
OPTION = re.compile(r'\("(grpc\.[a-z0-9_.]+)",')


def options() -> set[str]:
    sources = (path.read_text() for folder in ("services", "penstock") for path in (ROOT / folder).rglob("*.py"))
    return {name for source in sources for name in OPTION.findall(source)}


@pytest.mark.parametrize("name", sorted(options()))
def test_grpc_knows_the_option(name: str) -> None:
    assert name.encode() in Path(cygrpc.__file__).read_bytes()
