"""Signatures of models: OpenSSF Model Signing with a key of an elliptic curve, in a bundle of Sigstore's form.

The bundle is ``model.sig`` in the model's folder, or ``<file>.sig`` beside a model of one file. It names every file
that would be uploaded, the manifest too, with its SHA-256, so that one file more, fewer or other breaks it.

Bundles are made by the library ``model-signing``, and its command verifies them. They are verified here against
digests, so that nobody has to read files whose digests are known, and by stricter rules: no file may be left out.

Sources: https://github.com/ossf/model-signing-spec, https://docs.sigstore.dev/about/bundle,
https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILENAME = "model.sig"
"""The bundle's place among a model's files."""
MAX_BYTES = 4 << 20
"""Of a bundle: one of the most files, with the longest paths, is larger, and none that anybody has."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_THE_FILE = "."
"""How a model of one file is called."""
_SHOWN = 5
_PACKAGES = "signatures need more packages, expected penstock[signing] to be installed"


class SignatureError(ValueError):
    """A bundle or a key is none, or is not what it says. The message says what is wrong."""


def place_of(model: Path) -> Path:
    """Where a model's bundle is."""
    return model / FILENAME if model.is_dir() else model.with_name(f"{model.name}.sig")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A signature. ``fingerprint`` is that of the key that it says it is of, ``digests`` what it says of files."""

    fingerprint: str
    digests: Mapping[str, str]
    signature: bytes
    payload: bytes

    @classmethod
    def parse(cls, content: bytes) -> Bundle:
        """Raises: SignatureError."""
        if len(content) > MAX_BYTES:
            raise SignatureError(f"the bundle has {len(content)} bytes, expected at most {MAX_BYTES}")
        try:
            bundle = json.loads(content)
            _expect("mediaType", bundle["mediaType"], _MEDIA_TYPE)
            envelope = bundle["dsseEnvelope"]
            _expect("payloadType", envelope["payloadType"], _PAYLOAD_TYPE)
            (signature,) = envelope["signatures"]
            payload = _bytes(envelope["payload"])
            fingerprint = bundle["verificationMaterial"]["publicKey"]["hint"]
            return cls(str(fingerprint), _digests(json.loads(payload)), _bytes(signature["sig"]), payload)
        except SignatureError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SignatureError(
                f"the bundle can't be read ({type(error).__name__}), expected one of model-signing with a key"
            ) from None

    def check_files(self, files: Mapping[str, str]) -> None:
        """Compare what is signed with a model's files: SHA-256 by path, the bundle left out.

        Raises:
            SignatureError: there are others; the message names some.
        """
        digests = self.digests
        if len(files) == 1 and digests.keys() == {_THE_FILE}:
            digests = {next(iter(files)): digests[_THE_FILE]}
        for what, paths in (
            ("is not signed", files.keys() - digests.keys()),
            ("is signed and missing", digests.keys() - files.keys()),
            ("is not the file that was signed", {one for one in files.keys() & digests if files[one] != digests[one]}),
        ):
            if paths:
                raise SignatureError(f"{_some(paths)} {what}")

    def check_key(self, public_key: str) -> None:
        """Verify the signature with a public key, as PEM.

        Raises:
            SignatureError: it is another key's, or forged.
        """
        key = _load(public_key)
        from cryptography import exceptions
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        if fingerprint_of(public_key) != self.fingerprint:
            raise SignatureError(
                f"it is of a key with the fingerprint {self.fingerprint[:16]}…, "
                f"expected {fingerprint_of(public_key)[:16]}…"
            )
        algorithm = getattr(hashes, _CURVES[key.curve.name])()
        signed = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(self.payload), self.payload)
        try:
            key.verify(self.signature, signed, ec.ECDSA(algorithm))
        except exceptions.InvalidSignature:
            raise SignatureError("it is forged: its key did not sign what it says") from None


def fingerprint_of(public_key: str) -> str:
    """SHA-256 of a public key's PEM in its usual form, as bundles name keys.

    Raises:
        SignatureError: it is none that models can be signed with.
    """
    key = _load(public_key)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def sign(model: Path, private_key: Path, *, password: str | None = None) -> Path:
    """Sign a model, a file or a folder, with a private key as PEM; write the bundle to its place, which is returned.

    Raises:
        OSError: a file can't be read or written.
        SignatureError: the key is none, or its password is another one.
        ValueError: the model has something else than files.
    """
    from penstock import model_files

    files = model_files.find_signed(model)
    try:
        from model_signing import hashing, signing
    except ImportError as error:
        raise SignatureError(_PACKAGES) from error
    ignored: list[Path] = []
    if model.is_dir():
        present = {one.relative_to(model) for one in model.rglob("*") if one.is_file() or one.is_symlink()}
        ignored = [one for one in {*present, Path(FILENAME)} if one.as_posix() not in files]
    rules = hashing.Config().use_file_serialization().set_ignored_paths(paths=ignored, ignore_git_paths=False)
    secret: Any = password.encode() if password else None
    private_key.read_bytes()  # whatever is wrong with it from here on is not the disk's fault
    bundle = place_of(model)
    unfinished = bundle.with_name(f".{bundle.name}.unfinished")
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key, password=secret)
        signer.set_hashing_config(rules).sign(model, unfinished)
    except (ValueError, TypeError, AttributeError) as error:
        raise SignatureError(f"{private_key.name} can't sign: {error}; expected a private key of {_keys()}") from None
    unfinished.replace(bundle)
    return bundle


def verify(model: Path, public_key: str) -> Bundle:
    """Verify the signature of a model on this machine.

    Raises:
        OSError: a file can't be read.
        SignatureError: there is none, or it is another key's, or of other files.
        ValueError: the model has something else than files.
    """
    from penstock import model_files

    place = place_of(model)
    if not place.is_file():
        raise SignatureError(f"{model.name} is not signed: there is no {place.name}")
    bundle = Bundle.parse(place.read_bytes())
    bundle.check_key(public_key)
    bundle.check_files({path: _digest_of(file) for path, file in model_files.find_signed(model).items()})
    return bundle


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(public_key: str) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise SignatureError(_PACKAGES) from error
    try:
        key = load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError(f"the key can't be read, expected a public key of {_keys()} as PEM") from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise SignatureError(f"got another kind of key, expected a public key of {_keys()} as PEM")
    return key


def _keys() -> str:
    return f"one of the curves {', '.join(_CURVES)}"


def _digests(statement: Mapping[str, Any]) -> dict[str, str]:
    _expect("_type", statement["_type"], _STATEMENT)
    _expect("predicateType", statement["predicateType"], _PREDICATE)
    predicate = statement["predicate"]
    _expect("method", predicate["serialization"]["method"], "files")
    found: dict[str, str] = {}
    for one in predicate["resources"]:
        _expect("algorithm", one["algorithm"], "sha256")
        if one["name"] in found:
            raise SignatureError(f"the bundle names {one['name']!r} twice")
        found[str(one["name"])] = str(one["digest"])
    return found


def _expect(name: str, got: Any, expected: str) -> None:
    if got != expected:
        raise SignatureError(f"the bundle has {name} {str(got)[:80]!r}, expected {expected!r}")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _some(paths: set[str]) -> str:
    shown = ", ".join(sorted(paths)[:_SHOWN])
    return f"{shown} and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else shown
