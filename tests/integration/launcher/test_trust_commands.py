"""Keys, signatures, policies and the audit log by the command and the Python client, against a running suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from penstock import Client, errors
from penstock.audit import AuditError, Head
from penstock.signatures import SignatureError
from tests.support import commands, models
from tests.support.signing import KeyPair, key_pair
from tests.support.suite import Suite


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with Suite(PENSTOCK_ACTOR="anna@example") as running:
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return key_pair(tmp_path, "anna")


def run(suite: Suite, *arguments: str | Path) -> CompletedProcess[str]:
    return commands.run(suite.environ, *arguments)


def said(suite: Suite, *arguments: str | Path) -> Any:
    done = run(suite, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_is_signed_verified_served_and_its_key_revoked(suite: Suite, keys: KeyPair, tmp_path: Path) -> None:
    folder = models.folder_onnx(tmp_path / "model")
    (folder / "penstock.toml").write_text("max_batch_size = 4\n")
    public = tmp_path / "anna.pub"
    assert said(suite, "keys", "add", "release", "anna", public)["creator"] == "anna@example"
    said(suite, "deploy", folder, "-n", "signed")
    assert said(suite, "require", "signed", "--signed-by", "release")["trust_policy"] == {"key_set": "release"}
    refused = run(suite, "deploy", folder, "-n", "signed")
    assert "it is not signed, its model asks for a signature of keySets/release" in refused.stderr

    deployed = said(suite, "deploy", folder, "-n", "signed", "--sign", keys.private)["version"]

    assert deployed["trust"]["outcome"] == "OUTCOME_VERIFIED"
    paths = ["graph.onnx", "model.sig", "penstock.toml", "weights/bias.bin"]
    assert [one["path"] for one in deployed["files"]] == paths
    for what in (folder, "signed", "signed:3"):
        assert said(suite, "verify", what)["key"] == "keySets/release/keys/anna"
        assert said(suite, "verify", what, "--key", public)["key"] == str(public)
    stranger = run(suite, "verify", "signed", "--key", key_pair(tmp_path, "stranger").private.with_suffix(".pub"))
    assert (stranger.returncode, "it is of a key with the fingerprint" in stranger.stderr) == (1, True)
    (folder / "graph.onnx").write_bytes(b"other")
    assert "graph.onnx is not the file that was signed" in run(suite, "verify", folder).stderr
    assert "models/signed/versions/1 is not signed" in run(suite, "verify", "signed:1").stderr

    shown = run(suite, "model", "show", "signed").stdout
    for text in ("keySets/release/keys/anna, verified", "its files are those that were signed", "by anna@example"):
        assert text in shown
    revoked = run(suite, "keys", "revoke", "release", "anna", "--reason", "laptop lost")
    assert "models/signed/versions/3 is deployed: it runs on" in revoked.stdout
    assert "laptop lost" in run(suite, "keys", "list").stdout
    shown = run(suite, "model", "show", "signed").stdout
    assert "which is revoked, its model asks for a signature of keySets/release" in shown
    assert "a key that is not known" in run(suite, "verify", "signed").stderr
    assert run(suite, "infer", "signed", "--random").returncode == 0


def test_trust_and_revocation_of_a_version_are_shown(suite: Suite, tmp_path: Path) -> None:
    path = models.digits_torch_export(tmp_path / "m.pt2")
    said(suite, "deploy", path, "-n", "program", "--trust", "--no-wait")
    shown = run(suite, "model", "show", "program").stdout
    assert "for what it runs by anna@example" in shown
    assert said(suite, "revoke", "program", "1", "--reason", "leaks")["deployed"] == ["models/program/versions/1"]
    assert "its content was revoked: leaks" in run(suite, "model", "show", "program").stdout
    assert "was revoked: leaks" in run(suite, "deploy", path, "-n", "elsewhere", "--trust").stderr


def test_the_audit_log_is_shown_and_verified(suite: Suite, client: Client, keys: KeyPair, tmp_path: Path) -> None:
    client.trust.add_key("audited", "carl", keys.public)
    entries = said(suite, "audit")
    assert (entries[-1]["action"], entries[-1]["actor"]) == ("signing_key.create", "anna@example")
    head = said(suite, "audit", "--verify")["head"]
    assert client.trust.verify_audit() == Head.parse(head)
    assert said(suite, "audit", "--expect", head)["sequence"] == len(entries)
    wrong = run(suite, "audit", "--verify", "--expect", f"1:{'0' * 64}")
    assert (wrong.returncode, "was cut off or rewritten" in wrong.stderr) == (1, True)
    assert "keySets/audited/keys/carl" in run(suite, "audit").stdout
    assert said(suite, "audit", "--since", "2100-01-01") == []
    assert said(suite, "audit", "--model", "nobody") == []
    with pytest.raises(AuditError):
        client.trust.verify_audit(expected=Head(10**6, "a" * 64))
    with pytest.raises(errors.AlreadyExistsError, match="is this key"):
        client.trust.add_key("audited", "again", keys.public)
    unsigned = client.create_version("unsigned", client.upload(models.digits_onnx(tmp_path / "m.onnx")))
    with pytest.raises(SignatureError, match="is not signed"):
        client.trust.verify(unsigned)
