"""Field masks of updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from services.common.errors import InvalidArgumentError
from services.registry.domain.resources import Deployment, Model

MODEL_FIELDS = ("description", "labels")
NAMED_MODEL_FIELDS = ("trust_policy",)
"""Changed by who names them only, lest who knows nothing of them takes them back."""
DEPLOYMENT_FIELDS = ("versions", "replicas", "batching", "queue", "optimization", "pinned", "slo", "feedback")

Masked = TypeVar("Masked", Model, Deployment)


def merge(
    present: Masked, wanted: Masked, *, paths: Sequence[str], allowed: Sequence[str], named: Sequence[str] = ()
) -> Masked:
    """``present`` with the fields in ``paths`` taken from ``wanted``; no path, or ``*``, means all that is allowed.

    What may be ``named`` is allowed too, but is meant by no such path.

    Raises:
        InvalidArgumentError: a path is not allowed.
    """
    if not paths or list(paths) == ["*"]:
        paths = allowed
    if unknown := sorted(set(paths) - {*allowed, *named}):
        expected = ", ".join([*allowed, *named])
        raise InvalidArgumentError(f"got {', '.join(unknown)} in update_mask, expected some of {expected}")
    return replace(present, **{path: getattr(wanted, path) for path in paths})
