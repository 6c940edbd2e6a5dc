"""Where replicas run: which node takes one, when one moves, and when a move is over. Pure.

A replica that moves has two places: the one it goes to, and the one that it leaves when it serves there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from services.registry.domain.resources import Placement

_ROUNDS = 8
"""After so many a decision stands, even if another round would change it. Mostly the second confirms the first."""


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
class Room:
    """A node as it reports itself: what further processes can take. 0 instances means no limit, no formats mean all."""

    health: Health
    free_bytes: int = 0
    max_instances: int = 0
    formats: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """All nodes by name, ``other`` is the health of those that aren't among them.

    ``resident_bytes`` is what one process of a version takes, as far as a node has told.
    """

    nodes: Mapping[str, Room] = field(default_factory=dict)
    other: Health = Health.SILENT
    resident_bytes: Mapping[str, int] = field(default_factory=dict)

    def health(self, node: str) -> Health:
        room = self.nodes.get(node)
        return self.other if room is None else room.health


@dataclass(frozen=True, slots=True)
class Wanted:
    """One version's replicas, where they are placed, and what became of them there. An empty format isn't known.

    ``ready`` and ``failing`` are the places, number and node, that take requests or crash again and again.
    """

    version: str
    replicas: int
    need_bytes: int
    placements: Sequence[Placement] = ()
    ready: Collection[tuple[int, str]] = ()
    failing: Collection[tuple[int, str]] = ()
    format: str = ""


def decide(wanted: Sequence[Wanted], fleet: Fleet) -> dict[str, tuple[Placement, ...]]:
    """The placements of each version, by name.

    Replicas of one version are spread over nodes first, then all replicas; what is equal goes where most memory is
    free. Nothing moves but away from nodes that are lost, and, one at a time, to where two fewer are. Asked again with
    what it decided, it decides the same.
    """
    for _ in range(_ROUNDS):  # what comes new may make a move senseless that was not before
        decided = _decide(wanted, fleet)
        if all(list(decided[one.version]) == list(one.placements) for one in wanted):
            break
        wanted = [replace(one, placements=decided[one.version]) for one in wanted]
    return decided


def _decide(wanted: Sequence[Wanted], fleet: Fleet) -> dict[str, tuple[Placement, ...]]:
    board = _Board(wanted, fleet)
    for replica in board.replicas:
        board.settle(replica)
    for replica in board.in_need():
        board.place(replica)
    board.rebalance()
    return {
        one.version: tuple(place for replica in board.of_version[one.version] for place in board.places(replica))
        for one in wanted
    }


@dataclass(slots=True)
class _Replica:
    """``node`` is where it is to run, ``old`` where it goes on until it does; "" for none."""

    of: Wanted
    number: int
    node: str = ""
    old: str = ""

    @property
    def is_ready(self) -> bool:
        return (self.number, self.node) in self.of.ready

    @property
    def was_ready(self) -> bool:
        return (self.number, self.old) in self.of.ready

    @property
    def is_failing(self) -> bool:
        return (self.number, self.node) in self.of.failing


class _Board:
    """The replicas as they are moved about, and what that leaves of the nodes."""

    def __init__(self, wanted: Sequence[Wanted], fleet: Fleet) -> None:
        self._fleet = fleet
        self.of_version = {one.version: list(_replicas(one)) for one in wanted}
        self.replicas = [replica for replicas in self.of_version.values() for replica in replicas]
        self._spread: Counter[tuple[str, str]] = Counter()  # by version and node: replicas that stay there
        self._load: Counter[str] = Counter()
        self._instances: Counter[str] = Counter()  # with those that leave
        self._free = Counter({name: room.free_bytes for name, room in fleet.nodes.items()})
        for replica in self.replicas:
            self._take(replica, replica.node)
            self._hold(replica, replica.old)

    def settle(self, replica: _Replica) -> None:
        """End the move of a replica that is over, and turn back one that makes no sense any more."""
        if not replica.old:
            return
        new, old = self._fleet.health(replica.node), self._fleet.health(replica.old)
        if self._is_better_undone(replica):
            self._turn_back(replica)
            is_over = replica.is_ready or not replica.was_ready or old.is_lost
        elif new.is_lost:
            if replica.was_ready and not replica.is_ready:
                self._turn_back(replica)
            is_over = True
        else:
            is_over = replica.is_ready
        if is_over:
            self._hold(replica, replica.old, count=-1)
            replica.old = ""

    def _is_better_undone(self, replica: _Replica) -> bool:
        new, old = self._fleet.health(replica.node), self._fleet.health(replica.old)
        if new.is_lost:
            return old > new
        return old is Health.ALIVE and not replica.is_ready and self._is_worth(replica, replica.node, replica.old)

    def _turn_back(self, replica: _Replica) -> None:
        self._take(replica, replica.node, count=-1)
        self._hold(replica, replica.old, count=-1)
        replica.node, replica.old = replica.old, replica.node
        self._take(replica, replica.node)
        self._hold(replica, replica.old)

    def in_need(self) -> list[_Replica]:
        """Replicas without a place, or on a node that is lost; first those whose version has fewest others."""
        found = []
        for replicas in self.of_version.values():
            lost = [one for one in replicas if not one.node or self._fleet.health(one.node).is_lost]
            found += [(len(replicas) - len(lost) + at, replica) for at, replica in enumerate(lost)]
        return [replica for _, replica in sorted(found, key=lambda one: one[0])]

    def place(self, replica: _Replica) -> None:
        """Give a replica the best place there is, if there is one."""
        if target := min(self._targets(replica), key=lambda node: self._rank(replica, node), default=""):
            self._move(replica, target)

    def rebalance(self) -> None:
        """Begin one move to where two fewer are, unless one is under way that may come to an end."""
        if any(replica.old and not replica.is_failing for replica in self.replicas):
            return
        settled = [one for one in self.replicas if one.node and not one.old and self._is_movable(one.node)]
        for replica in sorted(settled, key=lambda one: (-self._load[one.node], one.of.need_bytes, one.of.version)):
            targets = [node for node in self._targets(replica) if self._is_worth(replica, replica.node, node)]
            if target := min(targets, key=lambda node: self._rank(replica, node), default=""):
                self._move(replica, target)
                return

    def places(self, replica: _Replica) -> Iterator[Placement]:
        """The replica as the registry keeps it."""
        version, number = replica.of.version, replica.number
        if replica.old:
            yield Placement(version, number, replica.old, is_leaving=True)
        yield Placement(version, number, replica.node, reason="" if replica.node else self._reason(replica))

    def _move(self, replica: _Replica, target: str) -> None:
        if replica.node:
            self._take(replica, replica.node, count=-1)
            self._hold(replica, replica.node)
        replica.node, replica.old = target, replica.node
        self._take(replica, target)

    def _targets(self, replica: _Replica) -> list[str]:
        return [node for node in self._fleet.nodes if node != replica.node and self._fits(replica, node)]

    def _fits(self, replica: _Replica, node: str) -> bool:
        room = self._fleet.nodes[node]
        return (
            room.health is Health.ALIVE
            and _can_load(room, replica.of)
            and not (room.max_instances and self._instances[node] >= room.max_instances)
            and replica.of.need_bytes <= self._free[node]
        )

    def _is_movable(self, node: str) -> bool:
        return self._fleet.health(node) is Health.ALIVE

    def _is_worth(self, replica: _Replica, here: str, there: str) -> bool:
        """Whether a replica's way from here to there evens out a difference of two."""
        version = replica.of.version
        if any(node == there for _, node in replica.of.failing):
            return False
        nearer = self._spread[version, here] - self._spread[version, there]
        return nearer >= 2 or (nearer == 1 and self._load[here] - self._load[there] >= 2)

    def _rank(self, replica: _Replica, node: str) -> tuple[bool, int, int, int, str]:
        is_failing = any(place == node for _, place in replica.of.failing)
        return is_failing, self._spread[replica.of.version, node], self._load[node], -self._free[node], node

    def _take(self, replica: _Replica, node: str, *, count: int = 1) -> None:
        self._spread[replica.of.version, node] += count
        self._load[node] += count
        self._hold(replica, node, count=count)

    def _hold(self, replica: _Replica, node: str, *, count: int = 1) -> None:
        """A place costs an instance, and memory where none runs that has taken it already."""
        self._instances[node] += count
        if (replica.number, node) not in replica.of.ready:
            self._free[node] -= count * replica.of.need_bytes

    def _reason(self, replica: _Replica) -> str:
        alive = {name: room for name, room in self._fleet.nodes.items() if room.health is Health.ALIVE}
        if not alive:
            return "no node takes replicas"
        able = [name for name, room in alive.items() if _can_load(room, replica.of)]
        if not able:
            return "no node has a backend for its format"
        need, free = replica.of.need_bytes, max(self._free[name] for name in able)
        if need > free:
            return f"needs {_mebibytes(need)} of memory, the most that a node has left is {_mebibytes(max(0, free))}"
        return "no node with enough memory left may run one more process"


def _can_load(room: Room, wanted: Wanted) -> bool:
    return not (room.formats and wanted.format) or wanted.format in room.formats


def _replicas(wanted: Wanted) -> Iterator[_Replica]:
    places: dict[int, list[Placement]] = {}
    for place in sorted(wanted.placements, key=lambda one: one.is_leaving):
        if place.node:
            places.setdefault(place.replica, []).append(place)
    for number in range(wanted.replicas):
        node, *others = dict.fromkeys(one.node for one in places.get(number, ())) or [""]
        old = next((one for one in others if (number, one) in wanted.ready), others[0] if others else "")
        yield _Replica(wanted, number, node, old)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
