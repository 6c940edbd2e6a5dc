"""How the audit log looks on screens of several widths."""

from __future__ import annotations

import io
import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from penstock.cli.audit import table
from penstock.registry.v1.resources_pb2 import AuditEntry

DETAILS = {
    "digest": "9f" * 32,
    "format": "",
    "deployed": ["models/a-longer-name/versions/3", "models/b/versions/1"],
    "signature": "VERIFIED",
    "before": None,
    "version": 0,
}
ENTRIES = [
    AuditEntry(
        sequence=number,
        log_time=Timestamp(seconds=1_795_000_000),
        actor="anna@machine.example",
        action="model_version.create",
        resource="models/sentence-embeddings/versions/12",
        details=json.dumps(DETAILS),
    )
    for number in (1, 1234)
]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_each_width_has_two_columns_of_facts_and_one_of_details(width: int) -> None:
    lines = shown(width).splitlines()

    assert max(map(len, lines)) <= width
    assert [line.split() for line in lines[:2]] == [["TIME", "DID"], ["#", "WHO", "TO", "DETAILS"]], "side by side"
    assert len(lines) < 20
    assert shown(width).count("anna@machine.example") == shown(width).count("model_version.create") == 2


def test_details_leave_out_what_is_empty_and_shorten_digests() -> None:
    text = shown(200)
    assert f"digest {'9f' * 8}…, deployed models/a-longer-name/versions/3 models/b/versions/1" in text
    assert "signature VERIFIED, version 0" in text
    assert not any(word in text for word in ("format", "before", "{"))


def shown(width: int) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width, highlight=False).print(table(ENTRIES))
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines())
