"""Who vouches for versions, and what is left of it when keys come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from penstock.manifests import FILENAME as MANIFEST
from penstock.signatures import FILENAME as BUNDLE
from penstock.signatures import MAX_BYTES
from services.common import trust
from services.common.errors import NotFoundError
from services.common.trust import Finding, Key, Outcome
from services.registry.adapters import artifact_rows, codec, revocation_rows, tables
from services.registry.adapters.transaction import Transaction
from services.registry.domain.resources import Model, ModelVersion, SigningKey, Trust, VersionState

_LARGEST_MANIFEST = 1 << 20
_LARGEST = {BUNDLE: MAX_BYTES, MANIFEST: _LARGEST_MANIFEST}


def needed(version: ModelVersion) -> Iterator[tuple[str, int]]:
    """What a version is judged by: the SHA-256 of files, and how many bytes are looked at."""
    if any(one.path == BUNDLE for one in version.files):
        yield from ((one.sha256, _LARGEST[one.path]) for one in version.files if one.path in _LARGEST)


def judge(tx: Transaction, version: ModelVersion, model: Model) -> ModelVersion:
    """The version with what its signature is worth now; who published it and vouched for it stays as it was."""
    finding = _examine(tx, version, model)
    present = replace(
        version.trust,
        outcome=finding.outcome,
        signing_key=finding.key,
        fingerprint=finding.fingerprint,
        verify_time_ns=tx.now_ns,
    )
    revoked = revocation_rows.find(tx, version.digest)
    if revoked is not None:
        fields = ("revoke_time_ns", "revoker", "revoke_reason")
        present = replace(present, **{name: getattr(revoked, name) for name in fields})
    return replace(version, trust=replace(present, refusal=_refusal(present, version, model, finding.detail)))


def _refusal(present: Trust, version: ModelVersion, model: Model, detail: str) -> str:
    if present.revoke_time_ns:
        return f"its content was revoked: {present.revoke_reason}"
    finding = Finding(present.outcome, present.signing_key, present.fingerprint, detail)
    return trust.refusal(finding, key_set=model.trust_policy.key_set, is_trusted=version.trusted)


def judge_again(tx: Transaction, *, model: str | None = None, where: Callable[[ModelVersion], bool]) -> list[str]:
    """Judge versions again, of one model or of all; watchers hear of those for which something changed.

    Returns the names of those that are deployed and aren't loaded any more from now on.
    """
    stopped = []
    deployed = artifact_rows.deployed_versions(tx)
    for version in tx.page(ModelVersion, model=model):
        if not where(version):
            continue
        judged = judge(tx, version, tx.get(Model, version.model))
        if replace(judged.trust, verify_time_ns=0) != replace(version.trust, verify_time_ns=0):
            tx.put(judged)
        if version.name in deployed and judged.trust.refusal and not version.trust.refusal:
            stopped.append(version.name)
    return stopped


def admitted(version: ModelVersion) -> ModelVersion:
    """A new version, REJECTED at once where its signature isn't enough."""
    if not version.trust.refusal:
        return version
    return replace(version, state=VersionState.REJECTED, state_reason=version.trust.refusal)


def keys_of(tx: Transaction, version: ModelVersion) -> list[SigningKey]:
    """The keys that a version's signature may be of."""
    fingerprint = version.trust.fingerprint
    if not fingerprint:
        return []
    return tx.select(SigningKey, tables.signing_keys.c.fingerprint == fingerprint)


def _examine(tx: Transaction, version: ModelVersion, model: Model) -> Finding:
    contents = {one.path: one for one in version.files}
    if (signed := contents.get(BUNDLE)) is None:
        return Finding(Outcome.UNSIGNED)
    if signed.size_bytes > MAX_BYTES:
        return Finding(Outcome.BROKEN, detail=f"it has {signed.size_bytes} bytes, expected at most {MAX_BYTES}")
    declared = contents.get(MANIFEST)
    if declared is not None and declared.size_bytes > _LARGEST_MANIFEST:
        return Finding(Outcome.BROKEN, detail=f"{MANIFEST} has more than {_LARGEST_MANIFEST >> 10} KiB")
    try:
        bundle = _read(tx, signed.sha256)
        manifest = _read(tx, declared.sha256) if declared is not None else None
    except NotFoundError as error:  # what can't be read vouches for nothing, and stops no revocation
        return Finding(Outcome.BROKEN, fingerprint=version.trust.fingerprint, detail=f"can't read it: {error}")
    return trust.examine(
        bundle,
        {path: one.sha256 for path, one in contents.items()},
        list(_keys(tx)),
        declared=manifest,
        manifest=codec.manifest_to_pb(version.manifest),
        key_set=model.trust_policy.key_set,
    )


def _read(tx: Transaction, sha256: str) -> bytes:
    if (content := artifact_rows.read_copy(tx, sha256)) is None:
        raise NotFoundError(f"there is no copy of content with SHA-256 {sha256}")
    return content


def _keys(tx: Transaction) -> Iterator[Key]:
    found: Sequence[SigningKey] = tx.select(SigningKey)
    for one in found:
        yield Key(one.name, one.public_key, one.fingerprint, bool(one.revoke_time_ns))
