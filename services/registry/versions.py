"""What happens to versions, from upload to validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.common.errors import FailedPreconditionError
from services.registry import audit, trusting
from services.registry.adapters import artifact_rows, claim_rows
from services.registry.adapters.transaction import Transaction
from services.registry.domain import etags, ids, lifecycle, limits, optimizations
from services.registry.domain.resources import (
    Alias,
    Artifact,
    Deployment,
    Model,
    ModelVersion,
    Optimization,
    SigningKey,
    Trust,
    TrustPolicy,
    VersionState,
)
from services.registry.replays import create_once


def create_version(
    tx: Transaction, wanted: ModelVersion, copies: Mapping[str, bytes], *, request_id: str
) -> ModelVersion:
    """Create a model's next version. Numbers of deleted versions are not given again.

    ``copies`` are those of the files that it is judged by.
    """
    limits.check_paths([one.path for one in wanted.files])
    for one in wanted.files:
        ids.check_sha256(one.sha256)
    limits.check_labels(wanted.labels)
    limits.check_manifest(wanted.manifest)
    limits.check_metrics(wanted.metrics)
    _check_lineage(wanted)

    def create() -> ModelVersion:
        model = tx.get(Model, wanted.model)
        files = tuple(_stored(tx, one) for one in sorted(wanted.files, key=lambda one: one.path))
        number = model.last_version + 1
        tx.store(replace(model, last_version=number))
        version = replace(wanted, number=number, files=files, create_time_ns=tx.now_ns, update_time_ns=tx.now_ns)
        version = replace(version, trust=_told(tx, version))
        for sha256, content in copies.items():
            artifact_rows.copy(tx, sha256, content)
        version = tx.put(trusting.admitted(trusting.judge(tx, version, model)))
        artifact_rows.name(tx, version)
        _record_creation(tx, version)
        return version

    target = f"a version of models/{wanted.model} with SHA-256 {wanted.digest}"
    return create_once(tx, create, kind=ModelVersion, request_id=request_id, target=target)


def _check_lineage(version: ModelVersion) -> None:
    lineage = version.lineage
    for parent in lineage.parents:
        ids.parse_version(parent)
    limits.check_lineage(parents=lineage.parents, texts=(lineage.origin, lineage.revision), facts=lineage.facts)


def _told(tx: Transaction, version: ModelVersion) -> Trust:
    """Who publishes a version and, maybe, vouches for it."""
    trust = Trust(publisher=tx.caller.actor)
    return replace(trust, voucher=tx.caller.actor, vouch_time_ns=tx.now_ns) if version.trusted else trust


def _record_creation(tx: Transaction, version: ModelVersion) -> None:
    trust = version.trust
    signature = {"signature": trust.outcome.name, "key": trust.signing_key, "fingerprint": trust.fingerprint}
    about = {"digest": version.digest, "format": version.format, "rejection": version.state_reason}
    audit.record(tx, "model_version.create", version.name, model=version.model, **about, **signature)
    if version.trusted:
        audit.record(tx, "model_version.trust", version.name, model=version.model, digest=version.digest)


def _stored(tx: Transaction, wanted: Artifact) -> Artifact:
    if (stored := artifact_rows.find(tx, wanted.sha256)) is None:
        raise FailedPreconditionError(
            f"{wanted.path}: content with SHA-256 {wanted.sha256} is not stored: upload it first"
        )
    return replace(wanted, size_bytes=stored.size_bytes)


def get_version(tx: Transaction, name: str) -> ModelVersion:
    return tx.get(ModelVersion, *ids.parse_version(name))


def delete_version(tx: Transaction, name: str, *, etag: str) -> None:
    """Delete a version that nothing names. Its content is collected later."""
    version = get_version(tx, name)
    etags.check(version.name, present=version.etag, given=etag)
    deployment = tx.find(Deployment, version.model)
    if deployment is not None and version.name in deployment.versions:
        raise FailedPreconditionError(f"{version.name} is served by {deployment.name}: take it out there first")
    for alias in tx.page(Alias, model=version.model):
        if alias.version == version.number:
            raise FailedPreconditionError(f"{version.name} is named by {alias.name}: move or delete that first")
    artifact_rows.unname(tx, version)
    tx.delete(version)
    audit.record(tx, "model_version.delete", version.name, model=version.model, digest=version.digest)


def claim_validation(
    tx: Transaction,
    node: str,
    *,
    formats: Sequence[str],
    libraries: Sequence[str],
    excluded: Sequence[str] = (),
) -> tuple[ModelVersion, list[SigningKey], TrustPolicy] | None:
    """Give a version to an agent, or its own claim with a fresh lease; None when there is nothing to do.

    With it comes all that the agent needs to judge its signature.
    """
    version = claim_rows.find_claimable(
        tx, ids.check_node(node), formats=formats, libraries=libraries, excluded=excluded
    )
    if version is None:
        return None
    claimed = lifecycle.claim(version, node=node, now_ns=tx.now_ns)
    if version.state is VersionState.PENDING:
        claimed = tx.put(claimed)
    else:
        tx.store(claimed)
    return claimed, trusting.keys_of(tx, claimed), tx.get(Model, claimed.model).trust_policy


def report_validation(tx: Transaction, name: str, verdict: lifecycle.Verdict) -> ModelVersion:
    version = get_version(tx, name)
    if lifecycle.is_repeated(version, verdict):
        return version
    version = tx.put(lifecycle.conclude(version, verdict, now_ns=tx.now_ns))
    if version.state is not VersionState.PENDING:
        about = {"state": version.state.name, "format": version.format, "reason": version.state_reason}
        audit.record(tx, "model_version.validate", name, model=version.model, actor=verdict.node, **about)
    return version


def report_optimization(tx: Transaction, name: str, found: Optimization) -> ModelVersion:
    """Record what an agent's search found so far. The etag stays: nobody else's update is to fail for that."""
    version = optimizations.record(get_version(tx, name), found, now_ns=tx.now_ns)
    tx.store(version)
    tx.announce(version)
    return version
