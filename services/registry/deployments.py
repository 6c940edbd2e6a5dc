"""What happens to deployments' desired state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from services.common import names
from services.common.errors import AlreadyExistsError, FailedPreconditionError
from services.registry import audit, placing, rollout_records
from services.registry.adapters.transaction import Transaction
from services.registry.domain import etags, ids, masks, serving
from services.registry.domain.fleet import Fleet
from services.registry.domain.resources import Deployment, Model, ModelVersion, VersionState
from services.registry.replays import create_once


def create_deployment(tx: Transaction, wanted: Deployment, *, request_id: str, fleet: Fleet) -> Deployment:
    names.model_id(wanted.model)
    wanted = serving.normalise(wanted)

    def create() -> Deployment:
        tx.get(Model, wanted.model)
        if tx.find(Deployment, wanted.model) is not None:
            raise AlreadyExistsError(f"{wanted.name} exists: update it instead")
        created = put_deployment(tx, replace(wanted, create_time_ns=tx.now_ns), fleet)
        audit.record(tx, "deployment.create", created.name, model=created.model, **_told(created))
        return created

    return create_once(tx, create, kind=Deployment, request_id=request_id, target=wanted.name)


def get_deployment(tx: Transaction, name: str) -> Deployment:
    return tx.get(Deployment, ids.parse_deployment(name))


def update_deployment(tx: Transaction, wanted: Deployment, *, paths: Sequence[str], fleet: Fleet) -> Deployment:
    present = tx.get(Deployment, wanted.model)
    etags.check(present.name, present=present.etag, given=wanted.etag)
    changed = masks.merge(present, wanted, paths=paths, allowed=masks.DEPLOYMENT_FIELDS)
    if changed.versions != present.versions:
        rollout_records.give_way(tx, present)
    updated = put_deployment(tx, serving.normalise(changed), fleet, before=present.versions)
    before = _told(present)
    news = {name: value for name, value in _told(updated).items() if value != before[name]}
    audit.record(tx, "deployment.update", updated.name, model=updated.model, **news)
    return updated


def delete_deployment(tx: Transaction, name: str, *, etag: str) -> None:
    deployment = get_deployment(tx, name)
    etags.check(deployment.name, present=deployment.etag, given=etag)
    rollout_records.end_deleted(tx, deployment)
    tx.delete(deployment)
    audit.record(tx, "deployment.delete", deployment.name, model=deployment.model, versions=list(deployment.versions))


def _told(deployment: Deployment) -> dict[str, Any]:
    """What the audit log says of a deployment."""
    return {
        "versions": list(deployment.versions),
        "replicas": deployment.replicas,
        "batching": asdict(deployment.batching),
        "queue": asdict(deployment.queue),
        "optimization": deployment.optimization.name,
        "slo": asdict(deployment.slo),
    }


def put_deployment(tx: Transaction, deployment: Deployment, fleet: Fleet, *, before: Sequence[str] = ()) -> Deployment:
    """Write a deployment together with the places of its replicas. What served ``before`` may be named again."""
    for name in deployment.versions:
        version = tx.find(ModelVersion, *ids.parse_version(name))
        if version is None or version.state is not VersionState.READY:
            got = "does not exist" if version is None else f"is {version.state.name}"
            reason = f" ({version.state_reason})" if version is not None and version.state_reason else ""
            raise FailedPreconditionError(f"{name} {got}{reason}, expected READY")
        if version.trust.refusal and name not in before:
            raise FailedPreconditionError(f"{name} can't be deployed: {version.trust.refusal}")
    tx.put(placing.place_written(tx, fleet, replace(deployment, update_time_ns=tx.now_ns)))
    return tx.get(Deployment, deployment.model)
