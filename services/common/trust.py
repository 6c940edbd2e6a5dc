"""Whether a version may be loaded: what its signature is worth, and what else is asked of it.

Registry and agents judge by the same rules: the one by digests of stored content, the others by files on their disks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from penstock import manifests
from penstock.registry.v1 import resources_pb2 as pb
from penstock.signatures import FILENAME, Bundle, SignatureError


class Outcome(IntEnum):
    """What came of a signature; the numbers are the API's."""

    UNSPECIFIED = 0
    UNSIGNED = 1
    VERIFIED = 2
    UNKNOWN_KEY = 3
    REVOKED_KEY = 4
    BROKEN = 5


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that the registry has. ``name`` is ``keySets/{key_set}/keys/{key}``."""

    name: str
    public_key: str
    fingerprint: str
    is_revoked: bool

    @classmethod
    def of(cls, message: pb.SigningKey) -> Key:
        return cls(message.name, message.public_key, message.fingerprint, message.HasField("revoke_time"))


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a version's signature. ``key`` is whose it is; ``detail`` says what is broken."""

    outcome: Outcome
    key: str = ""
    fingerprint: str = ""
    detail: str = ""


def examine(
    bundle: bytes | None,
    digests: Mapping[str, str],
    keys: Iterable[Key],
    *,
    declared: bytes | None,
    manifest: pb.Manifest,
    key_set: str = "",
) -> Finding:
    """Look at a signature.

    ``digests`` are SHA-256 of all files of the version by path; ``declared`` is the manifest among them, which is what
    the version's ``manifest`` must say. A key that is in several sets counts as one of ``key_set`` where it is there,
    and as revoked where it is so in any.
    """
    if bundle is None:
        return Finding(Outcome.UNSIGNED)
    fingerprint = ""
    try:
        signed = Bundle.parse(bundle)
        fingerprint = signed.fingerprint
        signed.check_files({path: digest for path, digest in digests.items() if path != FILENAME})
        _check_manifest(declared, manifest)
        own = sorted(
            (one for one in keys if one.fingerprint == fingerprint), key=lambda one: not is_of(one.name, key_set)
        )
        if not own:
            return Finding(Outcome.UNKNOWN_KEY, fingerprint=fingerprint)
        signed.check_key(own[0].public_key)
    except SignatureError as error:
        return Finding(Outcome.BROKEN, fingerprint=fingerprint, detail=str(error))
    revoked = next((one for one in own if one.is_revoked), None)
    if revoked is not None:
        return Finding(Outcome.REVOKED_KEY, revoked.name, fingerprint)
    return Finding(Outcome.VERIFIED, own[0].name, fingerprint)


def refusal(finding: Finding, *, key_set: str, is_trusted: bool) -> str:
    """Why a version with this signature isn't loaded; empty where it may be.

    A broken signature is never taken. Where the model asks for one of a key set, nothing else will do; elsewhere a
    person's word outweighs a key that was revoked.
    """
    name = finding.key or f"a key that the registry doesn't have ({finding.fingerprint[:16]}…)"
    problem = {
        Outcome.BROKEN: f"its signature is broken: {finding.detail}",
        Outcome.REVOKED_KEY: f"it is signed by {name}, which is revoked",
        Outcome.UNKNOWN_KEY: f"it is signed by {name}",
        Outcome.VERIFIED: f"it is signed by {name}",
    }.get(finding.outcome, "it is not signed")
    if finding.outcome is Outcome.BROKEN:
        return problem
    if key_set:
        is_accepted = finding.outcome is Outcome.VERIFIED and is_of(finding.key, key_set)
        return "" if is_accepted else f"{problem}, its model asks for a signature of keySets/{key_set}"
    return problem if finding.outcome is Outcome.REVOKED_KEY and not is_trusted else ""


def is_of(key: str, key_set: str) -> bool:
    """Whether a key, given by its name, is one of a set."""
    return bool(key_set) and key.startswith(f"keySets/{key_set}/keys/")


def _check_manifest(declared: bytes | None, manifest: pb.Manifest) -> None:
    """Raises: SignatureError: a manifest is used that wasn't signed."""
    try:
        signed = manifests.parse(tomllib.loads(declared.decode())) if declared else pb.Manifest()
    except ValueError as error:
        raise SignatureError(f"{manifests.FILENAME} can't be read: {error}") from None
    if signed != manifest:
        raise SignatureError(
            f"the version's manifest is not what was signed: {manifests.FILENAME} among its files is to say the same"
        )
