"""The fleet and what it is to run, as placement sees them. Pure values."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from services.registry.domain.resources import Placement


class Health(IntEnum):
    """What a node is good for. Replicas go on where they are while nothing better is known."""

    SILENT = 0
    LEAVING = 1
    UNHEARD = 2
    """The registry began a moment ago and has not heard it yet: it keeps what it has, and takes nothing."""
    ALIVE = 3

    @property
    def is_lost(self) -> bool:
        """Whether its replicas are to be placed elsewhere."""
        return self < Health.UNHEARD


@dataclass(frozen=True, slots=True)
class Process:
    """A process that a node reports: how long it has taken requests, if it does, and whether it is about to end."""

    ready_s: float | None = None
    is_draining: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """A node as it reports itself: what further processes can take. 0 instances means no limit, no formats mean all.

    ``libraries`` are those that it has for steps, ``processes`` by version and number of the replica. Its disk has
    ``free_cache_bytes`` for further models, and none for the files of the versions in ``without_room``, which are
    placed there.
    """

    health: Health
    free_bytes: int = 0
    max_instances: int = 0
    formats: Collection[str] = ()
    libraries: Collection[str] = ()
    processes: Mapping[tuple[str, int], Process] = field(default_factory=dict)
    free_cache_bytes: int = 1 << 62
    without_room: Collection[str] = ()

    def can_keep(self, wanted: Wanted) -> bool:
        """Whether its disk has a version's files, or room for them."""
        if wanted.version in self.without_room:
            return False
        is_there = any(version == wanted.version for version, _ in self.processes)
        return is_there or wanted.size_bytes <= self.free_cache_bytes

    def can_load(self, wanted: Wanted) -> bool:
        """Whether it has a backend and the libraries for a version, as far as both are known."""
        if not (self.formats and wanted.format):
            return True
        return wanted.format in self.formats and set(wanted.libraries) <= set(self.libraries)


@dataclass(frozen=True, slots=True)
class Use:
    """How a version is used: ``unsettled`` requests wait or run, the last came or was answered ``idle_s`` ago.

    ``asked_s`` is how long a version that runs nowhere has been asked for; None where it runs, or nobody asks.
    """

    unsettled: int = 0
    idle_s: float = math.inf
    asked_s: float | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All nodes by name, ``other`` is the health of those that aren't among them.

    ``resident_bytes`` is what one process of a version takes, as far as a node has told, ``uses`` how they are used.
    """

    nodes: Mapping[str, Room] = field(default_factory=dict)
    other: Health = Health.SILENT
    resident_bytes: Mapping[str, int] = field(default_factory=dict)
    uses: Mapping[str, Use] = field(default_factory=dict)

    def health(self, node: str) -> Health:
        room = self.nodes.get(node)
        return self.other if room is None else room.health

    def use(self, version: str) -> Use:
        return self.uses.get(version, _UNUSED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One version's replicas, where they are placed, and what became of them there. An empty format isn't known.

    ``ready`` and ``failing`` are the places, number and node, that take requests or crash again and again.
    ``size_bytes`` is what its files take.
    """

    version: str
    replicas: int
    need_bytes: int
    placements: Sequence[Placement] = ()
    ready: Collection[tuple[int, str]] = ()
    failing: Collection[tuple[int, str]] = ()
    format: str = ""
    libraries: Collection[str] = ()
    is_pinned: bool = False
    size_bytes: int = 0


_UNUSED = Use()
