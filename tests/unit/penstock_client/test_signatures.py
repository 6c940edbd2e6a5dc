"""Signatures: what they cover, what breaks them, and that other tools agree."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from penstock import model_files, signatures
from penstock.signatures import Bundle, SignatureError
from tests.support.signing import KeyPair, key_pair


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name in ("graph", "weights/a", "penstock.toml", ".git/config", "__pycache__/x.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def others_agree(model: Path, keys: KeyPair) -> bool:
    """Whether the library's own verification takes the signature."""
    public = model.parent / "key.pub"
    public.write_text(keys.public)
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, signatures.place_of(model))
    except ValueError:
        return False
    return True


def test_a_folder_s_signature_covers_what_would_be_uploaded(model: Path, keys: KeyPair) -> None:
    before = set(model_files.find(model))

    place = signatures.sign(model, keys.private)

    assert place == model / "model.sig"
    assert set(signatures.verify(model, keys.public).digests) == {"graph", "weights/a", "penstock.toml"}
    assert set(model_files.find(model)) == before | {"model.sig", "penstock.toml"}
    assert others_agree(model, keys)
    assert signatures.sign(model, keys.private) == place  # again: the old one is not signed along
    assert others_agree(model, keys)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
def test_a_file_is_signed_whatever_its_name(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    keys = key_pair(tmp_path, curve=curve, password=b"secret")
    (tmp_path / "m.onnx").write_bytes(b"weights")

    place = signatures.sign(tmp_path / "m.onnx", keys.private, password="secret")

    assert place == tmp_path / "m.onnx.sig"
    bundle = signatures.verify(tmp_path / "m.onnx", keys.public)
    bundle.check_files({"another name": bundle.digests["."]})
    assert others_agree(tmp_path / "m.onnx", keys)
    assert model_files.find(tmp_path / "m.onnx").keys() == {"m.onnx", "model.sig"}
    with pytest.raises(SignatureError, match="can't sign"):
        signatures.sign(tmp_path / "m.onnx", keys.private, password="wrong")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: (model / "weights/a").write_text("other"), "weights/a is not the file that was signed"),
        (lambda model: (model / "weights/b").write_text("more"), "weights/b is not signed"),
        (lambda model: (model / "weights/a").unlink(), "weights/a is signed and missing"),
        (lambda model: (model / "graph").rename(model / "graph2"), "graph2 is not signed"),
        (lambda model: (model / "penstock.toml").write_text("unbatched = true"), "penstock.toml is not the file"),
    ],
)
def test_other_files_than_signed_are_found(
    change: Callable[[Path], object], message: str, model: Path, keys: KeyPair
) -> None:
    signatures.sign(model, keys.private)
    change(model)

    with pytest.raises(SignatureError, match=message):
        signatures.verify(model, keys.public)
    assert not others_agree(model, keys)


def changed(model: Path, **news: Any) -> None:
    """Write a bundle that says another thing."""
    bundle = json.loads((model / "model.sig").read_text())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"].update(news)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (model / "model.sig").write_text(json.dumps(bundle))


def test_a_bundle_that_was_changed_is_forged(model: Path, keys: KeyPair) -> None:
    signatures.sign(model, keys.private)
    (model / "evil").write_text("code")
    resources = [
        {"name": name, "algorithm": "sha256", "digest": signatures._digest_of(path)}
        for name, path in model_files.find_signed(model).items()
    ]
    changed(model, resources=resources)

    with pytest.raises(SignatureError, match="forged"):
        signatures.verify(model, keys.public)


def test_another_key_s_signature_is_none_of_this_key(model: Path, keys: KeyPair, tmp_path: Path) -> None:
    signatures.sign(model, keys.private)
    other = key_pair(tmp_path, "other")
    with pytest.raises(SignatureError, match="it is of a key with the fingerprint"):
        signatures.verify(model, other.public)
    bundle = json.loads((model / "model.sig").read_text())
    bundle["verificationMaterial"]["publicKey"]["hint"] = signatures.fingerprint_of(other.public)
    (model / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises(SignatureError, match="forged"):
        signatures.verify(model, other.public)


@pytest.mark.parametrize(
    ("news", "message"),
    [
        ({"serialization": {"method": "shards"}}, "method 'shards'"),
        ({"resources": [{"name": "a", "algorithm": "blake2b", "digest": ""}]}, "algorithm 'blake2b'"),
        ({"resources": 2 * [{"name": "a", "algorithm": "sha256", "digest": ""}]}, "names 'a' twice"),
        ({"resources": [{"name": "a"}]}, "can't be read"),
    ],
)
def test_bundles_of_another_form_are_refused(news: dict[str, Any], message: str, model: Path, keys: KeyPair) -> None:
    signatures.sign(model, keys.private)
    changed(model, **news)
    with pytest.raises(SignatureError, match=message):
        Bundle.parse((model / "model.sig").read_bytes())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"-----BEGIN PGP", b"[" * 100_000, b"{" * (5 << 20)])
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(SignatureError):
        Bundle.parse(content)


def test_a_model_without_a_signature_and_keys_that_are_none_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match=r"not signed: there is no model\.sig"):
        signatures.verify(model, "")
    for key in ("", "-----BEGIN PUBLIC KEY-----", key_pair(tmp_path, curve=ec.SECP256K1()).public):
        with pytest.raises(SignatureError, match="expected a public key"):
            signatures.fingerprint_of(key)
    (tmp_path / "none").write_text("no key")
    with pytest.raises(SignatureError, match="none can't sign"):
        signatures.sign(model, tmp_path / "none")
    (model / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="symbolic link"):
        signatures.sign(model, tmp_path / "none")
