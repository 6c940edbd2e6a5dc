"""Keys, policies, what signatures are worth, and the audit log."""

from __future__ import annotations

from penstock.registry.v1 import resources_pb2 as pb
from services.common.trust import Outcome
from services.registry.adapters.codec.times import nanoseconds, timestamp
from services.registry.domain.audit import Entry
from services.registry.domain.resources import SigningKey, Trust, TrustPolicy


def policy_to_pb(policy: TrustPolicy) -> pb.TrustPolicy | None:
    return pb.TrustPolicy(key_set=policy.key_set) if policy.key_set else None


def signing_key_to_pb(key: SigningKey) -> pb.SigningKey:
    return pb.SigningKey(
        name=key.name,
        public_key=key.public_key,
        fingerprint=key.fingerprint,
        create_time=timestamp(key.create_time_ns),
        creator=key.creator,
        revoke_time=timestamp(key.revoke_time_ns),
        revoker=key.revoker,
        revoke_reason=key.revoke_reason,
    )


def signing_key_from_pb(message: pb.SigningKey, *, key_set: str, key: str) -> SigningKey:
    """What a caller sets of a key."""
    return SigningKey(key_set=key_set, id=key, public_key=message.public_key)


def trust_to_pb(trust: Trust) -> pb.Trust | None:
    if trust == Trust():
        return None
    return pb.Trust(
        outcome=int(trust.outcome),  # type: ignore[arg-type]
        signing_key=trust.signing_key,
        fingerprint=trust.fingerprint,
        verify_time=timestamp(trust.verify_time_ns),
        refusal=trust.refusal,
        publisher=trust.publisher,
        voucher=trust.voucher,
        vouch_time=timestamp(trust.vouch_time_ns),
        revoke_time=timestamp(trust.revoke_time_ns),
        revoker=trust.revoker,
        revoke_reason=trust.revoke_reason,
    )


def trust_from_pb(message: pb.Trust) -> Trust:
    return Trust(
        outcome=Outcome(message.outcome),
        signing_key=message.signing_key,
        fingerprint=message.fingerprint,
        verify_time_ns=nanoseconds(message.verify_time),
        refusal=message.refusal,
        publisher=message.publisher,
        voucher=message.voucher,
        vouch_time_ns=nanoseconds(message.vouch_time),
        revoke_time_ns=nanoseconds(message.revoke_time),
        revoker=message.revoker,
        revoke_reason=message.revoke_reason,
    )


def audit_entry_to_pb(entry: Entry) -> pb.AuditEntry:
    return pb.AuditEntry(
        sequence=entry.sequence,
        log_time=timestamp(entry.log_time_ns),
        actor=entry.actor,
        peer=entry.peer,
        action=entry.action,
        resource=entry.resource,
        details=entry.details,
        previous_sha256=entry.previous_sha256,
        sha256=entry.sha256,
    )
