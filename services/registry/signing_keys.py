"""What happens to keys, and to content that nobody is to load any more."""

from __future__ import annotations

from dataclasses import replace

from penstock.signatures import SignatureError, fingerprint_of
from services.common import names
from services.common.errors import AlreadyExistsError, FailedPreconditionError, InvalidArgumentError
from services.registry import audit, trusting, versions
from services.registry.adapters import revocation_rows, rows, tables
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids, limits, paging
from services.registry.domain.resources import ModelVersion, SigningKey
from services.registry.replays import create_once

_LARGEST_KEY = 4096


def create_signing_key(tx: Transaction, wanted: SigningKey, *, request_id: str) -> SigningKey:
    """Add a key. Versions that it signed before it was known are looked at again.

    Raises:
        InvalidArgumentError: it is no key that models can be signed with.
        AlreadyExistsError: the set has a key of this name, or this key by another name.
    """
    names.model_id(wanted.key_set)
    names.model_id(wanted.id)
    wanted = replace(wanted, fingerprint=_fingerprint(wanted.public_key))

    def create() -> SigningKey:
        same = tables.signing_keys.c.fingerprint == wanted.fingerprint
        for present in tx.select(SigningKey, tables.signing_keys.c.key_set == wanted.key_set, same):
            raise AlreadyExistsError(f"{present.name} is this key, expected one that the set doesn't have")
        if tx.find(SigningKey, wanted.key_set, wanted.id) is not None:
            raise AlreadyExistsError(f"{wanted.name} exists, expected an id that is free")
        key = tx.put(replace(wanted, create_time_ns=tx.now_ns, creator=tx.caller.actor))
        audit.record(tx, "signing_key.create", key.name, fingerprint=key.fingerprint)
        trusting.judge_again(tx, where=lambda one: one.trust.fingerprint == key.fingerprint)
        return key

    return create_once(tx, create, kind=SigningKey, request_id=request_id, target=wanted.name)


def list_signing_keys(tx: Transaction, *, parent: str, size: int, token: str) -> tuple[list[SigningKey], str]:
    """A page of keys by name, and the token of the next one (empty after the last)."""
    key_set = ids.parse_key_set(parent)
    page = paging.parse(f"signing keys {parent}", key_types=(str, str), size=size, token=token)
    where = [] if key_set is None else [tables.signing_keys.c.key_set == key_set]
    where += [] if page.after is None else [rows.KINDS[SigningKey].is_after(page.after)]
    found = tx.select(SigningKey, *where, limit=page.size + 1)
    if len(found) <= page.size:
        return found, ""
    found.pop()
    return found, page.next_token((found[-1].key_set, found[-1].id))


def revoke_signing_key(tx: Transaction, name: str, *, reason: str) -> tuple[SigningKey, list[str]]:
    """Revoke a key, for good. Returns it, and the deployed versions that aren't loaded any more.

    Raises:
        FailedPreconditionError: it is revoked already.
    """
    limits.check_reason(reason)
    present = tx.get(SigningKey, *ids.parse_signing_key(name))
    if present.revoke_time_ns:
        raise FailedPreconditionError(f"{name} is revoked already: {present.revoke_reason}")
    key = tx.put(replace(present, revoke_time_ns=tx.now_ns, revoker=tx.caller.actor, revoke_reason=reason))
    stopped = trusting.judge_again(tx, where=lambda one: one.trust.fingerprint == key.fingerprint)
    audit.record(tx, "signing_key.revoke", name, reason=reason, deployed=stopped)
    return key, stopped


def revoke_version(tx: Transaction, name: str, *, reason: str) -> tuple[ModelVersion, list[str]]:
    """Revoke a version's content, for good. Returns it, and all versions with that content that are deployed."""
    limits.check_reason(reason)
    digest = versions.get_version(tx, name).digest
    if (before := revocation_rows.find(tx, digest)) is not None:
        raise FailedPreconditionError(f"the content of {name} is revoked already: {before.revoke_reason}")
    revocation_rows.put(tx, digest, reason=reason)
    stopped = trusting.judge_again(tx, where=lambda one: one.digest == digest)
    version = versions.get_version(tx, name)
    audit.record(tx, "model_version.revoke", name, model=version.model, digest=digest, reason=reason, deployed=stopped)
    return version, stopped


def _fingerprint(public_key: str) -> str:
    if len(public_key) > _LARGEST_KEY:
        raise InvalidArgumentError(f"got a key of {len(public_key)} characters, expected at most {_LARGEST_KEY}")
    try:
        return fingerprint_of(public_key)
    except SignatureError as error:
        raise InvalidArgumentError(str(error)) from error
