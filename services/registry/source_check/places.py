"""A place that was found: its files, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.registry.source_check.trees import Tree


def _nothing() -> None:
    """Nothing else could have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """``identity`` is what makes the same files another model, ``revision`` what people call this state of the place.

    ``check_same`` raises :class:`~services.registry.source_check.trees.UnsettledError` where the place means other
    files by now.
    """

    tree: Tree
    origin: str
    revision: str = ""
    identity: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    check_same: Callable[[], None] = _nothing
