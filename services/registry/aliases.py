"""What happens to aliases."""

from __future__ import annotations

from services.common import names
from services.common.errors import InvalidArgumentError
from services.registry import audit
from services.registry.adapters.transaction import Transaction
from services.registry.domain import etags, ids
from services.registry.domain.resources import Alias, ModelVersion


def set_alias(tx: Transaction, name: str, version: str, *, etag: str) -> Alias:
    """Create or move an alias. An etag is that of the alias as it is: one that doesn't exist matches none."""
    model, alias = ids.parse_alias(name)
    of_model, number = ids.parse_version(version)
    if of_model != model:
        raise InvalidArgumentError(f"got version {version}, expected one of {names.model_name(model)}")
    present = tx.find(Alias, model, alias)
    etags.check(name, present=present.etag if present else "", given=etag)
    tx.get(ModelVersion, model, number)
    before = present.version if present else 0
    audit.record(tx, "alias.set", name, model=model, version=number, before=before or None)
    return tx.put(Alias(model=model, id=alias, version=number, update_time_ns=tx.now_ns))


def delete_alias(tx: Transaction, name: str, *, etag: str) -> None:
    alias = tx.get(Alias, *ids.parse_alias(name))
    etags.check(alias.name, present=alias.etag, given=etag)
    tx.delete(alias)
    audit.record(tx, "alias.delete", name, model=alias.model, before=alias.version)
