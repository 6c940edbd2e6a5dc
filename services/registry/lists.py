"""Pages of resources."""

from __future__ import annotations

from typing import TypeVar

from services.registry.adapters.rows import KINDS
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids, paging
from services.registry.domain.resources import Alias, Deployment, Model, ModelVersion

R = TypeVar("R", Model, ModelVersion, Alias, Deployment)


def list_resources(
    tx: Transaction, kind: type[R], *, size: int, token: str, parent: str = ids.ANY_MODEL
) -> tuple[list[R], str]:
    """A page of resources, and the token of the next one (empty after the last).

    Raises:
        InvalidArgumentError: a malformed size, token or parent.
        NotFoundError: there is no such parent.
    """
    mapping = KINDS[kind]
    if (model := ids.parse_parent(parent)) is not None:
        tx.get(Model, model)
    scope = f"{mapping.field} {parent}"
    page = paging.parse(scope, key_types=tuple(mapping.key.values()), size=size, token=token)
    found = tx.page(kind, model=model, after=page.after, limit=page.size + 1)
    if len(found) <= page.size:
        return found, ""
    found.pop()
    return found, page.next_token(mapping.key_of(found[-1]))
