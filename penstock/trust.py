"""The part of the Python client for keys, signatures, policies, and the audit log.

>>> with Client() as client:  # doctest: +SKIP
...     client.trust.add_key("release", "anna", Path("anna.pub").read_text())
...     client.trust.require("digits", "release")
...     client.trust.verify_audit()
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from penstock import audit
from penstock.audit import Head
from penstock.channels import Channel
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import AuditEntry, Model, ModelVersion, SigningKey, TrustPolicy
from penstock.signatures import FILENAME, Bundle, SignatureError


class TrustClient:
    """Asks the registry; ``penstock.signatures`` signs, and verifies models on this machine."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._registry = RegistryServiceStub(channel.grpc)

    # Keys

    def add_key(self, key_set: str, key: str, public_key: str) -> SigningKey:
        """Add a public key (PEM) to a set, which begins with its first key.

        Raises:
            AlreadyExistsError: the set has it, or another one of this name.
            InvalidArgumentError: it is no key that models can be signed with.
        """
        request = pb.CreateSigningKeyRequest(
            parent=f"keySets/{key_set}",
            signing_key_id=key,
            signing_key=SigningKey(public_key=public_key),
            request_id=str(uuid.uuid4()),
        )
        return self._call(self._registry.CreateSigningKey, request).signing_key

    def signing_keys(self, key_set: str = "-") -> list[SigningKey]:
        """A set's keys, revoked ones too; those of all sets by default."""
        request = pb.ListSigningKeysRequest(parent=f"keySets/{key_set}")
        return self._channel.pages(self._registry.ListSigningKeys, request, "signing_keys")

    def revoke_key(self, key_set: str, key: str, *, reason: str) -> list[str]:
        """Revoke a key, for good. Returns the deployed versions that aren't loaded any more; what runs goes on."""
        request = pb.RevokeSigningKeyRequest(name=f"keySets/{key_set}/keys/{key}", reason=reason)
        return list(self._call(self._registry.RevokeSigningKey, request).deployed)

    # Versions

    def require(self, model: str, key_set: str) -> Model:
        """Let only versions be loaded that a key of this set signed; an empty set asks for nothing any more."""
        wanted = Model(name=f"models/{model}", trust_policy=TrustPolicy(key_set=key_set))
        request = pb.UpdateModelRequest(model=wanted, update_mask=FieldMask(paths=["trust_policy"]))
        return self._call(self._registry.UpdateModel, request).model

    def policy(self, model: str) -> TrustPolicy:
        """What versions of a model need."""
        return self._call(self._registry.GetModel, pb.GetModelRequest(name=f"models/{model}")).model.trust_policy

    def revoke_version(self, name: str, *, reason: str) -> list[str]:
        """Revoke a version's content, for good. Returns the deployed versions that have it; what runs goes on."""
        request = pb.RevokeModelVersionRequest(name=name, reason=reason)
        return list(self._call(self._registry.RevokeModelVersion, request).deployed)

    def verify(self, version: ModelVersion, public_keys: Mapping[str, str] | None = None) -> str:
        """Verify a version's signature over its files. Returns the name of the key that it is of.

        ``public_keys`` are PEM by name; by default those of the registry that aren't revoked.

        Raises:
            SignatureError: it has none, or it is of another key, or of other files.
        """
        signature = next((one for one in version.files if one.path == FILENAME), None)
        if signature is None:
            raise SignatureError(f"{version.name} is not signed: it has no {FILENAME}")
        request = pb.DownloadArtifactRequest(sha256=signature.sha256)
        chunks = self._channel.stream(self._registry.DownloadArtifact, request)
        bundle = Bundle.parse(b"".join(one.chunk for one in chunks))
        bundle.check_files({one.path: one.sha256 for one in version.files if one.path != FILENAME})
        if public_keys is None:
            good = [one for one in self.signing_keys() if not one.HasField("revoke_time")]
            public_keys = {one.name: one.public_key for one in good if one.fingerprint == bundle.fingerprint}
        for name, public_key in public_keys.items():
            bundle.check_key(public_key)
            return name
        raise SignatureError(f"{version.name} is signed by a key that is not known: {bundle.fingerprint[:16]}…")

    # Audit

    def audit(self, *, model: str = "", since: datetime | None = None) -> Sequence[AuditEntry]:
        """What was changed, the oldest first: of one model or of all, from a time on or from the beginning."""
        request = pb.ListAuditEntriesRequest(model=f"models/{model}" if model else "")
        if since is not None:
            request.start_time.FromDatetime(since)
        return self._channel.pages(self._registry.ListAuditEntries, request, "audit_entries")

    def verify_audit(self, *, expected: Head = Head()) -> Head:  # noqa: B008 - a frozen value
        """Verify the whole audit log here, and that it still holds a head that was kept. Returns its present head.

        Raises:
            AuditError: it was tampered with.
        """
        return audit.verify(self.audit(), expected=expected)

    def _call(self, rpc: Any, request: Any) -> Any:
        return self._channel.call(rpc, request)
