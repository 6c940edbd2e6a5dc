"""Agents verify signatures by the files on their disks, before each load. Registry, agent and models are real."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock import signatures
from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.trust import Outcome
from services.common.watch import ResourceCache
from services.inference.admission import Admission
from tests.support.inference_node import InferenceNode, all_ready
from tests.support.models import digits_torch_export, folder_onnx
from tests.support.signing import KeyPair, key_pair

UNAVAILABLE = pb.InstanceStatus.STATE_UNAVAILABLE


@pytest.fixture
async def node(tmp_path: Path, redis_url: str) -> AsyncIterator[InferenceNode]:
    async with InferenceNode(tmp_path / "home", redis_url) as node:
        yield node


@pytest.fixture
async def keys(node: InferenceNode, tmp_path: Path) -> KeyPair:
    keys = key_pair(tmp_path)
    request = api.CreateSigningKeyRequest(
        parent="keySets/release", signing_key_id="anna", signing_key=pb.SigningKey(public_key=keys.public)
    )
    await node.registry.CreateSigningKey(request, wait_for_ready=True)
    return keys


def signed(folder: Path, keys: KeyPair) -> Path:
    signatures.sign(folder_onnx(folder), keys.private)
    return folder


async def refused(node: InferenceNode, reason: str) -> None:
    """Wait until the model "m" is down for this reason."""
    await node.instances("m", lambda found: any(one.state == UNAVAILABLE and reason in one.reason for one in found))


async def kill(node: InferenceNode) -> None:
    """Let the process of "m" start again."""
    (one,) = await node.instances("m", all_ready(1))
    os.kill(one.pid, signal.SIGKILL)


def checks(node: InferenceNode) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{node.ports['inference_metrics']}/metrics") as page:
        return "\n".join(line for line in page.read().decode().splitlines() if "signature_checks" in line)


async def test_a_signed_version_is_verified_and_served(node: InferenceNode, keys: KeyPair, tmp_path: Path) -> None:
    version = await node.validated(await node.create_version("m", signed(tmp_path / "model", keys)))

    assert (version.state, version.state_reason) == (pb.ModelVersion.STATE_READY, "")
    probe = next(one for one in version.validation_report.probes if one.name == "signature")
    assert (probe.outcome, probe.detail) == (pb.Probe.OUTCOME_PASSED, "by keySets/release/keys/anna, over 2 files")
    await node.deploy("m", version.name)
    await node.instances("m", all_ready(1))
    assert 'outcome="verified"' in await asyncio.to_thread(checks, node)


@pytest.mark.parametrize("what", ["changed", "extra", "no signature"])
async def test_files_other_than_those_that_were_signed_are_refused(
    what: str, node: InferenceNode, keys: KeyPair, tmp_path: Path
) -> None:
    folder = signed(tmp_path / "model", keys)
    version = await node.validated(await node.create_version("m", folder))
    known = (await node.registry.ListSigningKeys(api.ListSigningKeysRequest(parent="keySets/-"))).signing_keys
    admission = Admission(ResourceCache(lambda: None))
    assert (await admission.examine(version, folder, known, pb.TrustPolicy()))[1] == ""
    if what == "changed":
        (folder / "weights/bias.bin").write_bytes(bytes(64))
    elif what == "extra":
        (folder / "weights" / "more.bin").write_bytes(b"more")
    else:
        (folder / "model.sig").unlink()

    finding, refusal = await admission.examine(version, folder, known, pb.TrustPolicy())

    assert finding.outcome is Outcome.BROKEN
    assert "its signature is broken" in refusal


@pytest.mark.parametrize("what", ["changed", "extra", "no signature"])
async def test_files_that_were_changed_on_the_node_are_fetched_again(
    what: str, node: InferenceNode, keys: KeyPair, tmp_path: Path
) -> None:
    version = await node.validated(await node.create_version("m", signed(tmp_path / "model", keys)))
    await node.deploy("m", version.name)
    (before,) = await node.instances("m", all_ready(1))
    kept = node.home / "cache" / "models" / version.digest
    good = (kept / "weights/bias.bin").read_bytes()
    if what == "changed":
        (kept / "weights/bias.bin").write_bytes(bytes([good[0] ^ 1]) + good[1:])
    elif what == "extra":
        (kept / "weights" / "more.bin").write_bytes(b"more")
    else:
        (kept / "model.sig").unlink()

    await kill(node)

    await node.instances("m", lambda found: all_ready(1)(found) and found[0].pid != before.pid)
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()} == {
        one.path for one in version.files
    }
    assert (kept / "weights/bias.bin").read_bytes() == good
    assert 'admitted="no"' not in await asyncio.to_thread(checks, node)


async def test_what_runs_goes_on_after_its_key_was_revoked_and_is_not_loaded_again(
    node: InferenceNode, keys: KeyPair, tmp_path: Path
) -> None:
    version = await node.validated(await node.create_version("m", signed(tmp_path / "model", keys)))
    await node.deploy("m", version.name)
    (before,) = await node.instances("m", all_ready(1))

    request = api.RevokeSigningKeyRequest(name="keySets/release/keys/anna", reason="lost")
    answer = await node.registry.RevokeSigningKey(request)

    assert list(answer.deployed) == [version.name]
    await asyncio.sleep(1)
    (after,) = await node.instances("m", all_ready(1))
    assert after.pid == before.pid
    os.kill(after.pid, signal.SIGKILL)
    await refused(node, "is signed by keySets/release/keys/anna, which is revoked")


async def test_code_is_loaded_by_who_signed_it_or_by_somebody_s_word(
    node: InferenceNode, keys: KeyPair, tmp_path: Path
) -> None:
    folder = tmp_path / "program"
    folder.mkdir()
    digits_torch_export(folder / "digits.pt2")
    untrusted = await node.validated(await node.create_version("m", folder))
    assert "can run code while loading: mark the version as trusted" in untrusted.state_reason
    signatures.sign(folder, key_pair(tmp_path, "stranger").private)
    stranger = await node.validated(await node.create_version("m", folder))
    assert "can run code while loading" in stranger.state_reason
    signatures.sign(folder, keys.private)
    vouched = await node.validated(await node.create_version("m", folder))
    assert (vouched.state, vouched.trusted) == (pb.ModelVersion.STATE_READY, False)
