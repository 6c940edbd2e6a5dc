"""Where replicas run: which node takes one, when one moves, and when a move is over. Pure.

A replica that moves has two places: the one it goes to, and the one that it leaves when it serves there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from services.registry.domain import eviction
from services.registry.domain.fleet import Fleet, Health, Use, Wanted
from services.registry.domain.resources import Placement

ASLEEP = "others have the room on all nodes; the next request wakes it"

_ROUNDS = 8
"""After so many a decision stands, even if another round would change it. Mostly the second confirms the first."""


def decide(wanted: Sequence[Wanted], fleet: Fleet) -> dict[str, tuple[Placement, ...]]:
    """The placements of each version, by name.

    Replicas of one version are spread over nodes first, then all replicas; what is equal goes where most memory is
    free. Nothing moves but away from nodes that are lost, and, one at a time, to where two fewer are. What is asked
    for, runs nowhere and finds no room, gets that of another (``eviction``), once its process has ended. Asked again
    with what it decided, it decides the same.
    """
    for _ in range(_ROUNDS):  # what comes new may make a move senseless that was not before
        decided = _decide(wanted, fleet)
        if all(list(decided[one.version]) == list(one.placements) for one in wanted):
            break
        wanted = [replace(one, placements=decided[one.version]) for one in wanted]
    return decided


def elsewhere(wanted: Sequence[Wanted], fleet: Fleet, *, version: str, number: int) -> str:
    """The best other node for a replica that is placed on one; "" where no other can take it."""
    board = _Board(wanted, fleet)
    for replica in board.of_version.get(version, ()):
        if replica.number == number and not replica.old:
            return board.best_other(replica)
    return ""


def is_homeless(placements: Sequence[Placement], fleet: Fleet) -> bool:
    """Whether a version with these placements runs nowhere, or on nodes that are lost only."""
    return all(not one.node or fleet.health(one.node).is_lost for one in placements)


def _decide(wanted: Sequence[Wanted], fleet: Fleet) -> dict[str, tuple[Placement, ...]]:
    board = _Board(wanted, fleet)
    for replica in board.replicas:
        board.settle(replica)
        board.leave_full_disk(replica)
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
        self._instances_soon: Counter[str] = Counter()  # that much less, or more, once all is as decided
        self._free_soon: Counter[str] = Counter()
        for replica in self.replicas:
            self._take(replica, replica.node)
            self._hold(replica, replica.old)
        self._count_processes_that_end()

    def _count_processes_that_end(self) -> None:
        """Those that a node has, and that are placed there no more."""
        needs = {version: replicas[0].of.need_bytes for version, replicas in self.of_version.items() if replicas}
        placed = {(one.of.version, one.number, node) for one in self.replicas for node in (one.node, one.old)}
        for node, room in self._fleet.nodes.items():
            for (version, number), process in room.processes.items():
                if process.is_draining or (version, number, node) not in placed:
                    self._expect_end(node, needs.get(version, self._fleet.resident_bytes.get(version, 0)))

    def _expect_end(self, node: str, size: int) -> None:
        """A process takes its room for a moment longer."""
        self._instances[node] += 1
        self._instances_soon[node] -= 1
        self._free_soon[node] += size

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

    def leave_full_disk(self, replica: _Replica) -> None:
        """Place a replica anew whose node has no room for its files, if another one has."""
        if replica.old or replica.is_ready or replica.of.version not in self._without_room(replica.node):
            return
        if target := self._best(replica, [node for node in self._targets(replica) if self._can_keep(replica, node)]):
            self._take(replica, replica.node, count=-1)
            replica.node = target
            self._take(replica, target)

    def _without_room(self, node: str) -> Collection[str]:
        return self._fleet.nodes[node].without_room if node in self._fleet.nodes else ()

    def _can_keep(self, replica: _Replica, node: str) -> bool:
        return self._fleet.nodes[node].can_keep(replica.of)

    def in_need(self) -> list[_Replica]:
        """Replicas without a place, or on a node that is lost.

        First those that are pinned or asked for, then those whose version has fewest others.
        """
        found = []
        for version, replicas in self.of_version.items():
            lost = [one for one in replicas if self._is_lost(one)]
            urgency = eviction.urgency(self._fleet.use(version), is_pinned=replicas[0].of.is_pinned)
            found += [((urgency, len(replicas) - len(lost) + at), replica) for at, replica in enumerate(lost)]
        return [replica for _, replica in sorted(found, key=lambda one: one[0])]

    def _is_lost(self, replica: _Replica) -> bool:
        return not replica.node or self._fleet.health(replica.node).is_lost

    def place(self, replica: _Replica) -> None:
        """Give a replica the best place there is, or, where it is wanted, see that there will be one."""
        if target := self._best(replica, self._targets(replica)):
            self._move(replica, target)
        elif (asker := self._asker(replica)) is not None:
            able = [node for node in self._fleet.nodes if node != replica.node and self._is_able(replica, node)]
            target = self._best(replica, [node for node in able if self._will_fit(replica, node)])
            target = target or self._make_room(replica, asker, able)
            if target and self._fits(replica, target):
                self._move(replica, target)
            elif target:
                self._instances_soon[target] += 1
                self._free_soon[target] -= replica.of.need_bytes

    def _asker(self, replica: _Replica) -> Use | None:
        """Who asks for room in place of others: pinned versions, and those that run nowhere and have requests."""
        if replica.of.is_pinned:
            return eviction.INSISTENT
        use = self._fleet.use(replica.of.version)
        is_first = all(map(self._is_lost, self.of_version[replica.of.version]))
        return use if is_first and use.asked_s is not None else None

    def _make_room(self, replica: _Replica, asker: Use, able: Sequence[str]) -> str:
        """Put replicas to sleep on the node where that is least of a loss. Returns the node, or "" for none."""
        plans = []
        for node in able:
            victims = sorted(
                (
                    (rank, one.number, one.of.version, one)
                    for one in self.replicas
                    if one.node == node and (rank := self._eviction_rank(one, asker)) is not None
                ),
                key=lambda found: found[:3],
            )
            for count in range(1, len(victims) + 1):
                evicted = [one for *_, one in victims[:count]]
                if self._will_fit(replica, node, instances=count, size=sum(one.of.need_bytes for one in evicted)):
                    plans.append((victims[count - 1][0], count, self._rank(replica, node), node, evicted))
                    break
        if not plans:
            return ""
        *_, node, evicted = min(plans, key=lambda plan: plan[:4])
        for one in evicted:
            self._evict(one)
        return node

    def _eviction_rank(self, one: _Replica, asker: Use) -> tuple[int, float] | None:
        if one.of.is_pinned or one.old:
            return None
        process = self._fleet.nodes[one.node].processes.get((one.of.version, one.number))
        ready_s = process.ready_s if process is not None else math.inf if one.is_ready else None
        is_surplus = sum(not self._is_lost(other) for other in self.of_version[one.of.version]) > 1
        use = self._fleet.use(one.of.version)
        return eviction.rank(use, asker, ready_s=ready_s, is_failing=one.is_failing, is_surplus=is_surplus)

    def _evict(self, replica: _Replica) -> None:
        node, replica.node = replica.node, ""
        self._take(replica, node, count=-1)
        if (replica.of.version, replica.number) in self._fleet.nodes[node].processes:
            self._expect_end(node, replica.of.need_bytes)
        elif (replica.number, node) in replica.of.ready:
            self._free[node] += replica.of.need_bytes

    def rebalance(self) -> None:
        """Begin one move to where two fewer are, unless one is under way that may come to an end."""
        if any(replica.old and not replica.is_failing for replica in self.replicas):
            return
        settled = [one for one in self.replicas if one.node and not one.old and self._is_movable(one.node)]
        for replica in sorted(settled, key=lambda one: (-self._load[one.node], one.of.need_bytes, one.of.version)):
            targets = [node for node in self._targets(replica) if self._is_worth(replica, replica.node, node)]
            if target := self._best(replica, targets):
                self._move(replica, target)
                return

    def places(self, replica: _Replica) -> Iterator[Placement]:
        """The replica as the registry keeps it."""
        version, number = replica.of.version, replica.number
        if replica.old:
            yield Placement(version, number, replica.old, is_leaving=True)
        if replica.node:
            yield Placement(version, number, replica.node)
        elif self._is_asleep(replica):
            yield Placement(version, number, reason=ASLEEP, is_asleep=True)
        else:
            yield Placement(version, number, reason=self._reason(replica))

    def _is_asleep(self, replica: _Replica) -> bool:
        """Whether nothing is in the way of its version but others that may make room."""
        if replica.of.is_pinned or any(one.node for one in self.of_version[replica.of.version]):
            return False
        return any(
            self._is_able(replica, node)
            and self._will_fit(replica, node, instances=self._evictable[node][0], size=self._evictable[node][1])
            for node in self._fleet.nodes
        )

    @cached_property
    def _evictable(self) -> dict[str, tuple[int, int]]:
        """How many replicas of each node may make room, and what they take, once all is decided."""
        found = {}
        for node in self._fleet.nodes:
            sizes = [one.of.need_bytes for one in self.replicas if one.node == node and not one.of.is_pinned]
            found[node] = len(sizes), sum(sizes)
        return found

    def _move(self, replica: _Replica, target: str) -> None:
        if replica.node:
            self._take(replica, replica.node, count=-1)
            self._hold(replica, replica.node)
        replica.node, replica.old = target, replica.node
        self._take(replica, target)

    def _targets(self, replica: _Replica) -> list[str]:
        return [node for node in self._fleet.nodes if node != replica.node and self._fits(replica, node)]

    def best_other(self, replica: _Replica) -> str:
        """The best node that a replica isn't on, "" for none."""
        return self._best(replica, self._targets(replica))

    def _best(self, replica: _Replica, nodes: Sequence[str]) -> str:
        return min(nodes, key=lambda node: self._rank(replica, node), default="")

    def _fits(self, replica: _Replica, node: str) -> bool:
        room = self._fleet.nodes[node]
        return (
            self._is_able(replica, node)
            and not (room.max_instances and self._instances[node] >= room.max_instances)
            and replica.of.need_bytes <= self._free[node]
            and self._will_fit(replica, node)
        )

    def _is_able(self, replica: _Replica, node: str) -> bool:
        room = self._fleet.nodes[node]
        return room.health is Health.ALIVE and room.can_load(replica.of)

    def _will_fit(self, replica: _Replica, node: str, *, instances: int = 0, size: int = 0) -> bool:
        """Whether there is room once the processes have ended that are about to, and so many others of such a size."""
        most = self._fleet.nodes[node].max_instances
        taken = self._instances[node] + self._instances_soon[node] - instances
        return (not most or taken < most) and replica.of.need_bytes <= self._free[node] + self._free_soon[node] + size

    def _is_movable(self, node: str) -> bool:
        return self._fleet.health(node) is Health.ALIVE

    def _is_worth(self, replica: _Replica, here: str, there: str) -> bool:
        """Whether a replica's way from here to there evens out a difference of two."""
        version = replica.of.version
        if any(node == there for _, node in replica.of.failing) or not self._can_keep(replica, there):
            return False
        nearer = self._spread[version, here] - self._spread[version, there]
        return nearer >= 2 or (nearer == 1 and self._load[here] - self._load[there] >= 2)

    def _rank(self, replica: _Replica, node: str) -> tuple[bool, bool, int, int, int, str]:
        is_failing = any(place == node for _, place in replica.of.failing)
        return (
            not self._can_keep(replica, node),
            is_failing,
            self._spread[replica.of.version, node],
            self._load[node],
            -self._free[node],
            node,
        )

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
        able = [name for name, room in alive.items() if room.can_load(replica.of)]
        if not able:
            return "no node has a backend for its format, and what its steps need"
        need, free = replica.of.need_bytes, max(self._free[name] for name in able)
        if need > free:
            return f"needs {_mebibytes(need)} of memory, the most that a node has left is {_mebibytes(max(0, free))}"
        return "no node with enough memory left may run one more process"


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
