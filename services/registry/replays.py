"""Creations that may be asked for twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from services.common.errors import InvalidArgumentError
from services.registry.adapters import codec, request_rows
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids
from services.registry.domain.resources import Deployment, Model, ModelVersion, SigningKey
from services.registry.domain.rollouts import Rollout

R = TypeVar("R", Model, ModelVersion, Deployment, SigningKey, Rollout)

KEPT_NS = 24 * 3600 * 10**9
"""How long a request may be repeated."""


def create_once(tx: Transaction, create: Callable[[], R], *, kind: type[R], request_id: str, target: str) -> R:
    """Create a resource, or answer as the first request with this id did. ``target`` says what it is for.

    Raises:
        InvalidArgumentError: the id is no UUID, or was used for something else.
    """
    request_id = ids.check_request_id(request_id)
    if not request_id:
        return create()
    if (first := request_rows.find(tx, request_id)) is None:
        resource = create()
        request_rows.put(tx, request_id, target=target, body=codec.encode(resource))
        return resource
    if first[0] != target:
        raise InvalidArgumentError(f"got request_id {request_id} for {target}, it was used for {first[0]} before")
    return codec.decode(kind, first[1])


def forget_old(tx: Transaction) -> None:
    request_rows.forget(tx, before_ns=tx.now_ns - KEPT_NS)
