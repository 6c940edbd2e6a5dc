"""What the change log holds and the watch stream carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One resource as it was at ``revision``; 0 while a snapshot is sent.

    ``kind`` is its field in the watch stream's message, ``body`` the resource itself, serialised; only its name when
    it was deleted.
    """

    revision: int
    kind: str
    body: bytes
    is_deleted: bool = False


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Snapshot:
    """Everything there was at ``revision``, parents before children. Shared between the watchers that begin there."""

    revision: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A message without a resource: the end of the snapshot, or a sign of life."""

    revision: int
    is_snapshot_end: bool = False
