"""What happens to models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.common import names
from services.common.errors import AlreadyExistsError, FailedPreconditionError
from services.registry import audit, trusting
from services.registry.adapters import artifact_rows, rollout_rows, tables
from services.registry.adapters.transaction import Transaction
from services.registry.domain import etags, ids, limits, masks
from services.registry.domain.resources import Alias, Deployment, Model, ModelVersion, SigningKey
from services.registry.replays import create_once


def create_model(tx: Transaction, wanted: Model, *, request_id: str) -> Model:
    names.model_id(wanted.id)
    _check(wanted)
    _check_policy(tx, wanted)

    def create() -> Model:
        if tx.find(Model, wanted.id) is not None:
            raise AlreadyExistsError(f"{wanted.name} exists, expected an id that is free")
        model = tx.put(replace(wanted, create_time_ns=tx.now_ns, update_time_ns=tx.now_ns))
        audit.record(tx, "model.create", model.name, model=model.id, key_set=model.trust_policy.key_set)
        return model

    return create_once(tx, create, kind=Model, request_id=request_id, target=wanted.name)


def get_model(tx: Transaction, name: str) -> Model:
    return tx.get(Model, ids.parse_model(name))


def update_model(tx: Transaction, wanted: Model, *, paths: Sequence[str]) -> Model:
    """Change a model. Under another policy its versions are judged anew: some may not be loaded any more."""
    present = tx.get(Model, wanted.id)
    etags.check(present.name, present=present.etag, given=wanted.etag)
    changed = masks.merge(present, wanted, paths=paths, allowed=masks.MODEL_FIELDS, named=masks.NAMED_MODEL_FIELDS)
    _check(changed)
    model = tx.put(replace(changed, update_time_ns=tx.now_ns))
    if changed.trust_policy != present.trust_policy:
        _check_policy(tx, changed)
        stopped = trusting.judge_again(tx, model=model.id, where=lambda _: True)
        key_sets = {"key_set": changed.trust_policy.key_set, "before": present.trust_policy.key_set}
        audit.record(tx, "model.set_policy", model.name, model=model.id, **key_sets, deployed=stopped)
    if (changed.description, changed.labels) != (present.description, present.labels):
        told: dict[str, Any] = {"description": changed.description, "labels": dict(changed.labels)}
        audit.record(tx, "model.update", model.name, model=model.id, **told)
    return model


def delete_model(tx: Transaction, name: str, *, etag: str) -> None:
    """Delete a model with its versions, aliases and past rollouts. Their content is collected later."""
    model = tx.get(Model, ids.parse_model(name))
    etags.check(model.name, present=model.etag, given=etag)
    if (deployment := tx.find(Deployment, model.id)) is not None:
        raise FailedPreconditionError(f"{model.name} is deployed: delete {deployment.name} first")
    for alias in tx.page(Alias, model=model.id):
        tx.delete(alias)
    for version in tx.page(ModelVersion, model=model.id):
        artifact_rows.unname(tx, version)
        tx.delete(version)
        audit.record(tx, "model_version.delete", version.name, model=model.id, digest=version.digest)
    rollout_rows.forget(tx, model.id)
    tx.delete(model)
    audit.record(tx, "model.delete", model.name, model=model.id)


def _check_policy(tx: Transaction, model: Model) -> None:
    """Raises: FailedPreconditionError: nobody could sign a version."""
    if not (key_set := model.trust_policy.key_set):
        return
    names.model_id(key_set)
    if not tx.select(SigningKey, tables.signing_keys.c.key_set == key_set, limit=1):
        raise FailedPreconditionError(f"keySets/{key_set} has no key, expected one before signatures are asked for")


def _check(model: Model) -> None:
    limits.check_description(model.description)
    limits.check_labels(model.labels)
