"""The audit log: what is in it, that it changes with what it tells of, and that tampering shows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from penstock import audit
from penstock.audit import AuditError, Head
from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import UnavailableError
from services.registry import audit as log
from services.registry import models
from services.registry.adapters.database import Database
from services.registry.adapters.transaction import Transaction
from services.registry.domain.resources import Model
from tests.support.registry import NODE, Clock, Registry, fails, running_registry
from tests.support.signing import key_pair

ALIAS = "models/digits/aliases/best"


async def entries_of(registry: Registry, **fields: Any) -> list[pb.AuditEntry]:
    found: list[pb.AuditEntry] = []
    request = api.ListAuditEntriesRequest(page_size=3, **fields)
    while not found or request.page_token:
        page = await registry.stub.ListAuditEntries(request)
        found += page.audit_entries
        request.page_token = page.next_page_token
        if not page.audit_entries:
            break
    return found


async def live(registry: Registry, folder: Path) -> None:
    """Do each thing that the log tells of."""
    stub, request = registry.stub, api.UpdateDeploymentRequest
    await registry.deploy("digits")
    name = "models/digits/versions/1"
    await stub.UpdateModel(api.UpdateModelRequest(model=pb.Model(name="models/digits", description="of ten kinds")))
    await stub.SetAlias(api.SetAliasRequest(alias=pb.Alias(name=ALIAS, version=name)))
    key = pb.SigningKey(public_key=key_pair(folder).public)
    await stub.CreateSigningKey(
        api.CreateSigningKeyRequest(parent="keySets/release", signing_key_id="anna", signing_key=key)
    )
    policy = pb.Model(name="models/digits", trust_policy=pb.TrustPolicy(key_set="release"))
    await stub.UpdateModel(api.UpdateModelRequest(model=policy, update_mask=FieldMask(paths=["trust_policy"])))
    await stub.RevokeSigningKey(api.RevokeSigningKeyRequest(name="keySets/release/keys/anna", reason="lost"))
    await stub.RevokeModelVersion(api.RevokeModelVersionRequest(name=name, reason="leaks"))
    wanted = pb.Deployment(name="deployments/digits", replicas=2)
    await stub.UpdateDeployment(request(deployment=wanted, update_mask=FieldMask(paths=["replicas"])))
    await stub.DeleteDeployment(api.DeleteDeploymentRequest(name="deployments/digits"))
    await stub.DeleteAlias(api.DeleteAliasRequest(name=ALIAS))
    trusted = pb.ModelVersion(files=[await registry.upload(b"weights")], trusted=True)
    create = api.CreateModelVersionRequest(parent="models/digits", model_version=trusted)
    await stub.CreateModelVersion(create, metadata=[("x-penstock-actor", "carl@example")])
    await stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=name))
    await stub.DeleteModel(api.DeleteModelRequest(name="models/digits"))


async def test_everything_that_is_changed_is_in_the_log(registry: Registry, tmp_path: Path) -> None:
    before_ns = registry.clock.now_ns
    await registry.create_model("other")
    registry.clock.turn(10)
    await live(registry, tmp_path)

    entries = await entries_of(registry)
    assert [(one.action, one.resource) for one in entries] == [
        ("model.create", "models/other"),
        ("model.create", "models/digits"),
        ("model_version.create", "models/digits/versions/1"),
        ("model_version.validate", "models/digits/versions/1"),
        ("deployment.create", "deployments/digits"),
        ("model.update", "models/digits"),
        ("alias.set", ALIAS),
        ("signing_key.create", "keySets/release/keys/anna"),
        ("model.set_policy", "models/digits"),
        ("signing_key.revoke", "keySets/release/keys/anna"),
        ("model_version.revoke", "models/digits/versions/1"),
        ("deployment.update", "deployments/digits"),
        ("deployment.delete", "deployments/digits"),
        ("alias.delete", ALIAS),
        ("model_version.create", "models/digits/versions/2"),
        ("model_version.trust", "models/digits/versions/2"),
        ("model_version.delete", "models/digits/versions/1"),
        ("model_version.delete", "models/digits/versions/2"),
        ("model.delete", "models/digits"),
    ]
    by_action = {one.action: one for one in entries}
    assert by_action["model_version.trust"].actor == "carl@example"
    assert by_action["model_version.validate"].actor == NODE
    assert all(one.peer.startswith("ipv4:127.0.0.1:") for one in entries)
    assert json.loads(by_action["deployment.update"].details) == {"replicas": 2}
    assert json.loads(by_action["model.set_policy"].details)["deployed"] == ["models/digits/versions/1"]
    assert audit.verify(entries) == Head(len(entries), entries[-1].sha256)

    assert await entries_of(registry, model="models/other") == entries[:1]
    since = Timestamp()
    since.FromNanoseconds(before_ns)
    assert await entries_of(registry, start_time=since) == entries
    since.seconds += 5
    assert await entries_of(registry, start_time=since) == entries[1:]
    await fails(entries_of(registry, model="digits"), StatusCode.INVALID_ARGUMENT)


async def test_a_call_that_is_passed_on_is_still_its_caller_s(tmp_path: Path, database_url: str) -> None:
    async with (
        running_registry(tmp_path / "one", database_url=database_url) as writer,
        running_registry(tmp_path / "two", database_url=database_url) as other,
    ):
        metadata = [("x-penstock-actor", "carl@example")]
        await other.stub.CreateModel(api.CreateModelRequest(model_id="digits"), metadata=metadata)
        (entry,) = await entries_of(writer)
        assert await entries_of(other) == [entry]

    assert entry.actor == "carl@example"
    caller, _, registry = entry.peer.partition(" via ")
    assert caller.startswith("ipv4:127.0.0.1:")
    assert registry.startswith("ipv4:127.0.0.1:")


async def test_what_fails_or_changes_nothing_is_not_in_the_log(registry: Registry) -> None:
    await registry.create_model("digits")
    await fails(registry.create_model("digits"), StatusCode.ALREADY_EXISTS)
    await fails(registry.create_version("none"), StatusCode.NOT_FOUND)
    await fails(registry.stub.DeleteAlias(api.DeleteAliasRequest(name=ALIAS)), StatusCode.NOT_FOUND)
    await registry.stub.UpdateModel(api.UpdateModelRequest(model=pb.Model(name="models/digits")))

    assert [one.action for one in await entries_of(registry)] == ["model.create"]


async def test_change_and_entry_are_written_together_or_not_at_all(database_url: str) -> None:
    database = Database(database_url, clock=Clock(), changes_kept=100)
    await database.migrate()

    def crash(tx: Transaction) -> None:
        models.create_model(tx, Model(id="digits"), request_id="")
        raise UnavailableError("the process was killed here")

    with pytest.raises(UnavailableError):
        await database.write(crash)

    def state(tx: Transaction) -> tuple[int, int]:
        return len(tx.select(Model)), len(log.list_entries(tx, model="", since_ns=0, size=0, token="")[0])

    assert await database.read(state) == (0, 0)
    await database.write(models.create_model, Model(id="digits"), request_id="")
    assert await database.read(state) == (1, 1)
    database.close()


def execute(database_url: str, *statements: str) -> None:
    """As somebody who has the database's file, or a user of it."""
    with contextlib.ExitStack() as stack:
        connection: Any
        if database_url.startswith("sqlite"):
            connection = stack.enter_context(
                contextlib.closing(sqlite3.connect(sqlalchemy.make_url(database_url).database))
            )
        else:
            connection = stack.enter_context(psycopg.connect(database_url))
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET actor = 'nobody'", "DELETE FROM audit_entries"])
async def test_the_database_itself_keeps_the_log_as_it_is(
    statement: str, registry: Registry, database_url: str
) -> None:
    await registry.create_model("digits")
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.RaiseException), match="append-only"):
        execute(database_url, statement)
    assert len(await entries_of(registry)) == 1


@pytest.fixture
def tampered(tmp_path: Path) -> Callable[..., Any]:
    """Reads a log of six entries after somebody changed the file by these statements."""
    url = f"sqlite:///{tmp_path}/test.db"

    async def tamper(*statements: str) -> list[pb.AuditEntry]:
        async with running_registry(tmp_path, database_url=url) as registry:
            for number in range(6):
                registry.clock.turn(1)
                await registry.create_model(f"m{number}")
            before = await entries_of(registry)
            audit.verify(before)
        no_triggers = [f"DROP TRIGGER audit_entries_no_{change}" for change in ("update", "delete")]
        execute(url, *no_triggers, *statements)
        async with running_registry(tmp_path, database_url=url) as registry:
            entries = await entries_of(registry)
        with pytest.raises(AuditError):
            audit.verify(entries, expected=Head(6, before[-1].sha256))
        return entries

    return tamper


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((f"{column} = 'x'", "entry 3 was changed") for column in ("actor", "peer", "action", "resource", "details")),
        ("log_time_ns = log_time_ns + 1", "entry 3 was changed"),
        ("sha256 = substr(sha256, 2) || 'x'", "entry 3 was changed"),
        ("previous_sha256 = sha256", "entry 3 doesn't follow"),
        ("sequence = 9", "entry 3 is missing"),
    ],
)
async def test_a_changed_field_is_found(change: str, message: str, tampered: Callable[..., Any]) -> None:
    entries = await tampered(f"UPDATE audit_entries SET {change} WHERE sequence = 3")

    with pytest.raises(AuditError, match=message):
        audit.verify(entries)


def swapped(first: int, second: int) -> Iterable[str]:
    for before, after in ((first, 99), (second, first), (99, second)):
        yield f"UPDATE audit_entries SET sequence = {after} WHERE sequence = {before}"


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM audit_entries WHERE sequence = 3"],
        ["DELETE FROM audit_entries WHERE sequence = 1"],
        [
            "DELETE FROM audit_entries WHERE sequence = 3",
            "UPDATE audit_entries SET sequence = sequence - 1 WHERE sequence > 3",
        ],
        list(swapped(2, 4)),
    ],
    ids=["middle", "first", "closed up", "swapped"],
)
async def test_removed_and_reordered_entries_are_found(statements: list[str], tampered: Callable[..., Any]) -> None:
    entries = await tampered(*statements)

    with pytest.raises(AuditError, match=r"is missing|doesn't follow"):
        audit.verify(entries)


async def test_an_entry_that_was_rewritten_with_its_digest_breaks_the_next(tampered: Callable[..., Any]) -> None:
    entries = await tampered("UPDATE audit_entries SET actor = 'innocent' WHERE sequence = 3")
    one = entries[2]
    one.sha256 = audit.digest_of(
        sequence=3,
        time_ns=one.log_time.ToNanoseconds(),
        actor=one.actor,
        peer=one.peer,
        action=one.action,
        resource=one.resource,
        details=one.details,
        previous=one.previous_sha256,
    )

    with pytest.raises(AuditError, match="entry 4 doesn't follow"):
        audit.verify(entries)


@pytest.mark.parametrize("left", [0, 4])
async def test_a_log_that_was_cut_off_is_found_by_a_head_that_was_kept(left: int, tampered: Callable[..., Any]) -> None:
    entries = await tampered(f"DELETE FROM audit_entries WHERE sequence > {left}")

    assert audit.verify(entries).sequence == left
    with pytest.raises(AuditError, match="was cut off or rewritten"):
        audit.verify(entries, expected=Head.parse(f"6:{'a' * 64}"))


def test_a_head_is_text() -> None:
    head = Head(7, "ab" * 32)
    assert Head.parse(str(head)) == head
    for text in ("", "7", "x:" + "a" * 64, "7:abc"):
        with pytest.raises(ValueError, match="got head"):
            Head.parse(text)
