"""What happens to models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.common import names
from services.common.errors import AlreadyExistsError, FailedPreconditionError
from services.registry.adapters import artifact_rows
from services.registry.adapters.transaction import Transaction
from services.registry.domain import etags, ids, limits, masks
from services.registry.domain.resources import Alias, Deployment, Model, ModelVersion
from services.registry.replays import create_once


def create_model(tx: Transaction, wanted: Model, *, request_id: str) -> Model:
    names.model_id(wanted.id)
    _check(wanted)

    def create() -> Model:
        if tx.find(Model, wanted.id) is not None:
            raise AlreadyExistsError(f"{wanted.name} exists, expected an id that is free")
        return tx.put(replace(wanted, create_time_ns=tx.now_ns, update_time_ns=tx.now_ns))

    return create_once(tx, create, kind=Model, request_id=request_id, target=wanted.name)


def get_model(tx: Transaction, name: str) -> Model:
    return tx.get(Model, ids.parse_model(name))


def update_model(tx: Transaction, wanted: Model, *, paths: Sequence[str]) -> Model:
    present = tx.get(Model, wanted.id)
    etags.check(present.name, present=present.etag, given=wanted.etag)
    changed = masks.merge(present, wanted, paths=paths, allowed=masks.MODEL_FIELDS)
    _check(changed)
    return tx.put(replace(changed, update_time_ns=tx.now_ns))


def delete_model(tx: Transaction, name: str, *, etag: str) -> None:
    """Delete a model with its versions and aliases. Their content is collected later."""
    model = tx.get(Model, ids.parse_model(name))
    etags.check(model.name, present=model.etag, given=etag)
    if (deployment := tx.find(Deployment, model.id)) is not None:
        raise FailedPreconditionError(f"{model.name} is deployed: delete {deployment.name} first")
    for alias in tx.page(Alias, model=model.id):
        tx.delete(alias)
    for version in tx.page(ModelVersion, model=model.id):
        artifact_rows.unname(tx, version)
        tx.delete(version)
    tx.delete(model)


def _check(model: Model) -> None:
    limits.check_description(model.description)
    limits.check_labels(model.labels)
