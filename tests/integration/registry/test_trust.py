"""Keys, signatures and policies in the registry."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from penstock import manifests, model_files, signatures
from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.registry import NODE, Registry, fails
from tests.support.signing import KeyPair, key_pair

STATE, OUTCOME = pb.ModelVersion.State, pb.Trust.Outcome


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return key_pair(tmp_path)


def model_in(folder: Path, content: str = "weights", manifest: str = "") -> Path:
    (folder / "part").mkdir(parents=True)
    (folder / "part/weights").write_text(content)
    (folder / "graph").write_text("graph")
    if manifest:
        (folder / "penstock.toml").write_text(manifest)
    return folder


async def add_key(registry: Registry, keys: KeyPair, key_set: str = "release", key: str = "anna") -> pb.SigningKey:
    request = api.CreateSigningKeyRequest(
        parent=f"keySets/{key_set}", signing_key_id=key, signing_key=pb.SigningKey(public_key=keys.public)
    )
    metadata = [("x-penstock-actor", "root@example")]
    return (await registry.stub.CreateSigningKey(request, metadata=metadata)).signing_key


async def require(registry: Registry, model: str, key_set: str) -> pb.Model:
    wanted = pb.Model(name=f"models/{model}", trust_policy=pb.TrustPolicy(key_set=key_set))
    mask = FieldMask(paths=["trust_policy"])
    return (await registry.stub.UpdateModel(api.UpdateModelRequest(model=wanted, update_mask=mask))).model


async def create(registry: Registry, folder: Path, **fields: object) -> pb.ModelVersion:
    """Upload a model as the client does, and make it a version of "m"."""
    files = []
    for place, path in model_files.find(folder).items():
        files.append(await registry.upload(path.read_bytes()))
        files[-1].path = place
    manifest = manifests.read(found) if (found := manifests.find(folder)) else None
    version = pb.ModelVersion(**{"files": files, "manifest": manifest, **fields})  # type: ignore[arg-type]
    request = api.CreateModelVersionRequest(parent="models/m", model_version=version, request_id=str(uuid.uuid4()))
    metadata = [("x-penstock-actor", "carl@example")]
    created = await registry.stub.CreateModelVersion(request, metadata=metadata)
    assert await registry.stub.CreateModelVersion(request) == created
    return created.model_version


async def get(registry: Registry, version: pb.ModelVersion) -> pb.ModelVersion:
    return (await registry.stub.GetModelVersion(api.GetModelVersionRequest(name=version.name))).model_version


async def revoke(registry: Registry, name: str) -> api.RevokeSigningKeyResponse:
    return await registry.stub.RevokeSigningKey(api.RevokeSigningKeyRequest(name=name, reason="lost"))


async def deploy(registry: Registry, *versions: pb.ModelVersion) -> pb.Deployment:
    deployment = pb.Deployment(versions=[one.name for one in versions])
    request = api.CreateDeploymentRequest(deployment_id="m", deployment=deployment)
    return (await registry.stub.CreateDeployment(request)).deployment


async def ready(registry: Registry, version: pb.ModelVersion) -> pb.ModelVersion:
    claimed = await registry.stub.ClaimValidation(api.ClaimValidationRequest(node=NODE))
    assert claimed.model_version.name == version.name
    return await registry.report(claimed.model_version)


async def test_a_signature_is_verified_when_the_version_is_created(
    registry: Registry, keys: KeyPair, tmp_path: Path
) -> None:
    key = await add_key(registry, keys)
    assert (key.name, key.creator) == ("keySets/release/keys/anna", "root@example")
    await registry.create_model("m")
    folder = model_in(tmp_path / "model", manifest='[options]\na = "b"\n')
    signatures.sign(folder, keys.private)

    version = await create(registry, folder, trusted=True)

    assert (version.state, version.trust.outcome) == (STATE.STATE_PENDING, OUTCOME.OUTCOME_VERIFIED)
    assert (version.trust.signing_key, version.trust.refusal) == (key.name, "")
    assert (version.trust.publisher, version.trust.voucher) == ("carl@example", "carl@example")
    assert version.trust.HasField("verify_time")
    assert version.trust.HasField("vouch_time")
    assert await get(registry, version) == version
    claimed = await registry.stub.ClaimValidation(api.ClaimValidationRequest(node=NODE))
    assert list(claimed.signing_keys) == [key]

    unsigned = await create(registry, model_in(tmp_path / "unsigned"))
    assert (unsigned.state, unsigned.trust.outcome) == (STATE.STATE_PENDING, OUTCOME.OUTCOME_UNSIGNED)
    assert not unsigned.trust.HasField("vouch_time")


@pytest.mark.parametrize("what", ["changed", "extra", "missing", "manifest", "unsigned manifest", "garbage"])
async def test_other_content_than_was_signed_is_rejected(
    what: str, registry: Registry, keys: KeyPair, tmp_path: Path
) -> None:
    await registry.create_model("m")
    await add_key(registry, keys)
    folder = model_in(tmp_path / "model", manifest="" if what == "unsigned manifest" else "unbatched = true")
    signatures.sign(folder, keys.private)
    fields: dict[str, object] = {}
    if what == "changed":
        (folder / "graph").write_text("another")
    elif what == "extra":
        (folder / "part/more").write_text("more")
    elif what == "missing":
        (folder / "graph").unlink()
    elif what == "garbage":
        (folder / "model.sig").write_text("garbage")
    else:
        fields["manifest"] = pb.Manifest(options={"evil": "yes"})
    expected = {
        "changed": "graph is not the file that was signed",
        "extra": "part/more is not signed",
        "missing": "graph is signed and missing",
        "garbage": "the bundle can't be read",
    }.get(what, "the version's manifest is not what was signed")

    version = await create(registry, folder, trusted=True, **fields)

    assert (version.state, version.trust.outcome) == (STATE.STATE_REJECTED, OUTCOME.OUTCOME_BROKEN)
    assert expected in version.state_reason
    assert version.trust.refusal == version.state_reason


async def test_a_model_may_ask_for_signatures_of_a_key_set(registry: Registry, keys: KeyPair, tmp_path: Path) -> None:
    other = key_pair(tmp_path, "other")
    await registry.create_model("m")
    await fails(require(registry, "m", "release"), StatusCode.FAILED_PRECONDITION, with_text=["has no key"])
    await add_key(registry, keys)
    assert (await require(registry, "m", "release")).trust_policy.key_set == "release"
    await add_key(registry, other, key_set="research")
    other_things = api.UpdateModelRequest(model=pb.Model(name="models/m", description="digits"))
    assert (await registry.stub.UpdateModel(other_things)).model.trust_policy.key_set == "release"
    folder = model_in(tmp_path / "model")

    unsigned = await create(registry, folder, trusted=True)
    assert unsigned.state_reason == "it is not signed, its model asks for a signature of keySets/release"
    signatures.sign(folder, other.private)
    assert "signed by keySets/research/keys/anna, its model asks" in (await create(registry, folder)).state_reason
    signatures.sign(folder, key_pair(tmp_path, "stranger").private)
    assert "a key that the registry doesn't have" in (await create(registry, folder)).state_reason
    signatures.sign(folder, keys.private)
    assert (await create(registry, folder)).state == STATE.STATE_PENDING


async def test_a_revoked_key_vouches_for_nothing_any_more(registry: Registry, keys: KeyPair, tmp_path: Path) -> None:
    await registry.create_model("m")
    key = await add_key(registry, keys)
    folder = model_in(tmp_path / "model")
    signatures.sign(folder, keys.private)
    running, idle = [await ready(registry, await create(registry, folder)) for _ in range(2)]
    vouched = await ready(registry, await create(registry, folder, trusted=True))
    await deploy(registry, running, vouched)

    answer = await revoke(registry, key.name)

    assert list(answer.deployed) == [running.name]
    assert (answer.signing_key.revoke_reason, answer.signing_key.HasField("revoke_time")) == ("lost", True)
    for version in (running, idle):
        now = await get(registry, version)
        assert (now.state, now.trust.outcome) == (STATE.STATE_READY, OUTCOME.OUTCOME_REVOKED_KEY)
        assert now.trust.refusal == f"it is signed by {key.name}, which is revoked"
    assert (await get(registry, vouched)).trust.refusal == ""
    update = api.UpdateDeploymentRequest(
        deployment=pb.Deployment(name="deployments/m", versions=[running.name, vouched.name], replicas=2)
    )
    assert (await registry.stub.UpdateDeployment(update)).deployment.replicas == 2  # what runs may go on
    update.deployment.versions[:] = [running.name, idle.name]
    await fails(registry.stub.UpdateDeployment(update), StatusCode.FAILED_PRECONDITION, with_text=["which is revoked"])
    assert (await create(registry, folder)).state == STATE.STATE_REJECTED
    await fails(revoke(registry, key.name), StatusCode.FAILED_PRECONDITION, with_text=["revoked already: lost"])
    await fails(add_key(registry, keys, key="again"), StatusCode.ALREADY_EXISTS, with_text=["is this key"])
    await add_key(registry, keys, key_set="elsewhere")  # and doesn't wash it clean
    assert (await create(registry, folder)).state == STATE.STATE_REJECTED


async def test_policies_and_keys_that_come_later_are_applied_to_what_is_there(
    registry: Registry, keys: KeyPair, tmp_path: Path
) -> None:
    await registry.create_model("m")
    folder = model_in(tmp_path / "model")
    unsigned = await ready(registry, await create(registry, folder))
    signatures.sign(folder, keys.private)
    signed = await ready(registry, await create(registry, folder))
    assert (signed.trust.outcome, signed.trust.refusal) == (OUTCOME.OUTCOME_UNKNOWN_KEY, "")

    key = await add_key(registry, keys)
    assert (await get(registry, signed)).trust.signing_key == key.name
    await require(registry, "m", "release")

    assert "not signed, its model asks" in (await get(registry, unsigned)).trust.refusal
    assert (await get(registry, signed)).trust.refusal == ""
    await fails(deploy(registry, unsigned), StatusCode.FAILED_PRECONDITION, with_text=["not signed"])
    await deploy(registry, signed)
    await require(registry, "m", "")
    assert (await get(registry, unsigned)).trust.refusal == ""


async def test_revoked_content_is_refused_under_every_name(registry: Registry, tmp_path: Path) -> None:
    await registry.create_model("m")
    folder = model_in(tmp_path / "model")
    first, second = [await ready(registry, await create(registry, folder, trusted=True)) for _ in range(2)]
    await deploy(registry, second)
    request = api.RevokeModelVersionRequest(name=first.name, reason="leaks")

    answer = await registry.stub.RevokeModelVersion(request)

    assert list(answer.deployed) == [second.name]
    assert answer.model_version.trust.refusal == "its content was revoked: leaks"
    assert (await get(registry, second)).trust.HasField("revoke_time")
    third = await create(registry, folder, trusted=True)
    assert (third.state, third.state_reason) == (STATE.STATE_REJECTED, "its content was revoked: leaks")
    await fails(registry.stub.RevokeModelVersion(request), StatusCode.FAILED_PRECONDITION, with_text=["already"])


async def test_keys_are_listed_watched_and_refused_where_they_are_none(
    registry: Registry, keys: KeyPair, tmp_path: Path
) -> None:
    names = [(await add_key(registry, key_pair(tmp_path, name), key=name)).name for name in ("b", "a")]
    names.append((await add_key(registry, keys, key_set="other")).name)
    listed, token = [], ""
    while not listed or token:
        request = api.ListSigningKeysRequest(parent="keySets/-", page_size=2, page_token=token)
        page = await registry.stub.ListSigningKeys(request)
        listed += [one.name for one in page.signing_keys]
        token = page.next_page_token
    assert listed == sorted(names, key=lambda name: name.replace("release", "zzz"))
    own = await registry.stub.ListSigningKeys(api.ListSigningKeysRequest(parent="keySets/release"))
    assert [one.name.rpartition("/")[2] for one in own.signing_keys] == ["a", "b"]
    seen = set()
    async for message in registry.stub.WatchResources(api.WatchResourcesRequest()):
        if message.is_snapshot_end:
            break
        seen.add(message.signing_key.name)
    assert seen == set(names)

    bad = StatusCode.INVALID_ARGUMENT
    await fails(add_key(registry, KeyPair(tmp_path, "no key")), bad, with_text=["expected a public key"])
    await fails(add_key(registry, KeyPair(tmp_path, "x" * 5000)), bad, with_text=["5000 characters"])
    await fails(add_key(registry, keys, key="a/b"), bad, with_text=["got id 'a/b'"])
    await fails(add_key(registry, keys, key_set="-"), bad, with_text=["got id ''"])
    await fails(add_key(registry, keys, key="a"), StatusCode.ALREADY_EXISTS, with_text=["exists"])
    for reason in ("", "x" * 1025):
        request = api.RevokeSigningKeyRequest(name=names[0], reason=reason)
        await fails(registry.stub.RevokeSigningKey(request), bad, with_text=["got a reason of"])
    await fails(revoke(registry, "keySets/release/keys/none"), StatusCode.NOT_FOUND)
    await fails(require(registry, "none", ""), StatusCode.NOT_FOUND)
