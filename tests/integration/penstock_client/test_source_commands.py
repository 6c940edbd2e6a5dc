"""``penstock sources`` and ``penstock lineage``, and their Python equivalents, against a registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from penstock import Client, sources
from penstock.errors import AbortedError, AlreadyExistsError, NotFoundError
from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import Lineage
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from penstock.registry.v1.source_service_pb2 import Source
from tests.support import commands
from tests.support.registry import NODE, SIGNATURE, RegistryProcess
from tests.support.suite import wait_until


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with RegistryProcess(tmp_path / "home") as process:
        yield process.address


@pytest.fixture
def client(registry: str) -> Iterator[Client]:
    with Client(registry=registry) as client:
        wait_until(lambda: client.health()["registry"] is True)
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (made := tmp_path / "models").mkdir()
    (made / "model.onnx").write_bytes(b"one")
    return made


def command(registry: str, *arguments: str) -> CompletedProcess[str]:
    return commands.run(os.environ, *arguments, "--registry", registry)


def output_of(registry: str, *arguments: str) -> Any:
    done = command(registry, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judge(client: Client, *, rejection: str = "") -> None:
    """Validate what waits for it, as an agent would."""
    stub = RegistryServiceStub(client._channels["registry"].grpc)
    claimed = stub.ClaimValidation(api.ClaimValidationRequest(node=NODE)).model_version
    signature = None if rejection else SIGNATURE
    request = api.ReportValidationRequest(name=claimed.name, node=NODE, rejection=rejection, signature=signature)
    stub.ReportValidation(request)


def test_a_source_is_added_looked_at_shown_paused_and_removed(client: Client, registry: str, folder: Path) -> None:
    added = output_of(
        registry, "sources", "add", "one", "digits", "--folder", str(folder), "--settle", "0.1", "--rollout", "canary"
    )
    assert (added["name"], added["plan"]["strategy"]) == ("sources/one", "STRATEGY_CANARY")
    assert output_of(registry, "sources", "check", "one")["version"] == "models/digits/versions/1"

    listed = command(registry, "sources", "list").stdout
    assert str(folder) in listed
    judge(client, rejection="it is no ONNX")
    wait_until(lambda: client.sources.get("one").state == Source.STATE_FAILING)
    shown = command(registry, "sources", "show", "one").stdout
    assert "version 1 was rejected: it is no ONNX" in shown
    assert command(registry, "sources", "check", "one").returncode == 1

    assert output_of(registry, "sources", "pause", "one")["state"] == "STATE_PAUSED"
    refused = command(registry, "sources", "check", "one")
    assert (refused.returncode, "paused" in refused.stderr) == (1, True)
    assert output_of(registry, "sources", "resume", "one")["is_paused"] is False
    assert command(registry, "sources", "remove", "one").returncode == 0
    assert "Nothing is watched" in command(registry, "sources", "list").stdout


def test_one_place_must_be_named(client: Client, registry: str) -> None:
    done = command(registry, "sources", "add", "one", "digits")
    assert done.returncode == 2
    assert "expected one of" in done.stderr


def test_a_plan_is_read_from_a_file(client: Client, registry: str, folder: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"strategy": "STRATEGY_CANARY", "steps": [{"candidateShare": 0.3}]}))
    added = output_of(registry, "sources", "add", "one", "digits", "--folder", str(folder), "--plan", str(plan))
    assert added["plan"]["steps"][0]["candidate_share"] == 0.3

    plan.write_text("{")
    done = command(registry, "sources", "add", "two", "digits", "--folder", str(folder), "--plan", str(plan))
    assert (done.returncode, "is no plan" in done.stderr) == (1, True)


def test_python_does_the_same(client: Client, folder: Path) -> None:
    plan = RolloutPlan(strategy=RolloutPlan.STRATEGY_ALL_AT_ONCE)
    place = sources.folder(str(folder))
    created = client.sources.add("one", "digits", place, settle_s=0.1, plan=plan)
    with pytest.raises(AlreadyExistsError):
        client.sources.add("one", "digits", place)
    assert client.sources.check("one").version == "models/digits/versions/1"
    assert [one.name for one in client.sources.list()] == ["sources/one"]

    created.poll_duration.FromSeconds(5)
    updated = client.sources.update(created, "poll_duration")
    assert updated.poll_duration.seconds == 5
    with pytest.raises(AbortedError):
        client.sources.update(created, "poll_duration")
    client.sources.remove("one")
    with pytest.raises(NotFoundError):
        client.sources.get("one")


def test_a_lineage_goes_back_to_the_first_and_tells_of_every_rollout(
    client: Client, registry: str, folder: Path
) -> None:
    plan = RolloutPlan(strategy=RolloutPlan.STRATEGY_ALL_AT_ONCE)
    client.sources.add("one", "digits", sources.folder(str(folder)), settle_s=0.1, plan=plan)
    for content in (b"one", b"two"):
        (folder / "model.onnx").write_bytes(content)
        client.sources.check("one")
        judge(client)
        wait_until(lambda: client.sources.get("one").state == Source.STATE_WATCHING)
    parents = [f"models/digits/versions/{number}" for number in (2, 9)]
    lineage = Lineage(parents=parents, facts={"why": "drift"})
    third = client.create_version("digits", client.upload(folder / "model.onnx"), lineage=lineage)

    found = client.sources.lineage(third.name)
    assert [(one.version.name.rpartition("/")[2], one.depth, one.relation, one.is_deleted) for one in found] == [
        ("3", 0, "itself", False),
        ("9", 1, "parent", True),
        ("2", 1, "parent", False),
        ("1", 2, "before", False),
    ]
    assert [len(one.rollouts) for one in found] == [0, 0, 1, 1]

    shown = command(registry, "lineage", "digits", "3").stdout
    assert "made from digits version 2" in shown
    assert "rollout 1, candidate against version 1" in shown
    assert "why drift" in shown
    assert [one["depth"] for one in output_of(registry, "lineage", "digits", "3")] == [0, 1, 1, 2]
    assert command(registry, "lineage", "digits", "7").returncode == 1


def test_records_need_a_place_and_name_the_package_that_is_missing(
    client: Client, registry: str, tmp_path: Path
) -> None:
    assert command(registry, "export", "records").returncode == 2
    done = command(registry, "export", "records", "--tensorboard", str(tmp_path / "board"))
    assert done.returncode == 0 or "penstock[tensorboard]" in done.stderr
