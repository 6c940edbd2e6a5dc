"""The commands about versions and what they take, run against a registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from penstock import Client
from penstock.errors import FailedPreconditionError, NotFoundError
from tests.support import commands
from tests.support.registry import RegistryProcess, digest
from tests.support.suite import wait_until


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with RegistryProcess(tmp_path / "home") as process:
        yield process.address


@pytest.fixture
def client(registry: str, tmp_path: Path) -> Iterator[Client]:
    """Two versions of a model, of which one has an alias."""
    with Client(registry=registry) as client:
        wait_until(lambda: client.health()["registry"] is True)
        for content in (b"first", b"second"):
            path = tmp_path / "model.bin"
            path.write_bytes(content)
            client.create_version("digits", client.upload(path))
        client.set_alias("digits", "best", "models/digits/versions/1")
        yield client


def command(registry: str, *arguments: str, answer: str = "") -> CompletedProcess[str]:
    return commands.run(os.environ, *arguments, "--registry", registry, answer=answer)


def output_of(registry: str, *arguments: str) -> Any:
    done = command(registry, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_versions_are_listed_with_what_names_them(client: Client, registry: str) -> None:
    newest, first = output_of(registry, "versions", "digits")

    assert newest["version"]["name"] == "models/digits/versions/2"
    assert (first["aliases"], first["is_deployed"], newest["aliases"]) == (["best"], False, [])
    shown = command(registry, "versions", "digits").stdout
    assert all(text in shown for text in ("best", "pending", "5 bytes", first["version"]["digest"][:16]))
    assert "models/nothing" in command(registry, "versions", "nothing").stderr


def test_what_is_deleted_is_garbage(client: Client, registry: str) -> None:
    assert output_of(registry, "gc", "--dry-run", "--grace", "0") == []
    refused = command(registry, "model", "delete", "digits", "--version", "1")
    assert (refused.returncode, "aliases/best" in refused.stderr) == (1, True)

    assert output_of(registry, "model", "delete", "digits", "--version", "2") == {"deleted": "models/digits/versions/2"}
    assert output_of(registry, "gc") == []  # it may be wanted again within a day
    (garbage,) = output_of(registry, "gc", "--dry-run", "--grace", "0")
    assert (garbage["kind"], garbage["sha256"]) == ("KIND_CONTENT", digest(b"second"))
    assert "6 bytes removed" in command(registry, "gc", "--grace", "0").stdout
    assert output_of(registry, "gc", "--grace", "0") == []

    assert command(registry, "model", "delete", "digits", answer="n\n").returncode == 1
    assert len(client.versions("digits")) == 1
    assert command(registry, "model", "delete", "digits", "--yes").returncode == 0
    with pytest.raises(NotFoundError):
        client.versions("digits")


def test_the_client_does_the_same(client: Client) -> None:
    with pytest.raises(FailedPreconditionError, match="aliases/best"):
        client.delete_version("models/digits/versions/1")
    client.delete_version("models/digits/versions/2")
    client.delete_model("digits")

    found = client.collect_garbage(is_dry_run=True, grace_s=0)

    assert {one.sha256 for one in found} == {digest(b"first"), digest(b"second")}
    assert client.collect_garbage() == []
    assert len(client.collect_garbage(grace_s=0)) == 2
