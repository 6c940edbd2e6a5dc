"""What agents report of their nodes, and what becomes of a node that reports no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.common.errors import FailedPreconditionError
from services.registry import placing
from services.registry.adapters import node_rows
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.transaction import Transaction
from services.registry.domain import paging, serving
from services.registry.domain.demand import Demand, VersionDemand
from services.registry.domain.fleet import Fleet, Health, Process, Room
from services.registry.domain.resources import (
    Deployment,
    InstanceState,
    InstanceStatus,
    Node,
    NodeReport,
    NodeState,
)
from services.registry.placing import Placed

T = TypeVar("T")

_ABSENCE_S = 1.5
"""A registry that did nothing for so long was stopped, or its host was."""

_STATES = {Health.ALIVE: NodeState.ALIVE, Health.LEAVING: NodeState.LEAVING, Health.SILENT: NodeState.SILENT}


@dataclass(frozen=True, slots=True)
class _Heard:
    """A node's last report, and when it came, or until when none was to be expected.

    ``ready_ns`` is when each replica, by version and number, was first heard to take requests.
    """

    report: NodeReport
    heard_ns: int
    time_ns: int
    ready_ns: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def processes(self, now_ns: int) -> dict[tuple[str, int], Process]:
        """The node's processes, by the replica that they are."""
        return {
            replica: Process(
                ready_s=(now_ns - self.ready_ns[replica]) * 1e-9 if replica in self.ready_ns else None,
                is_draining=one.state is InstanceState.DRAINING,
            )
            for one in self.report.instances
            if (replica := serving.replica_of(one)) is not None
        }


class Nodes:
    """Takes reports, and has replicas placed. Heartbeats that change nothing are remembered here and not written.

    ``clock`` tells Unix time; ``monotonic`` is what silence is measured by. ``on_evictions`` is told how many replicas
    made room for others.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        monotonic: Clock,
        on_evictions: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._database = database
        self._on_evictions = on_evictions
        self._clock = clock
        self._monotonic = monotonic
        self._changes, self._seen_changes, self._looked_ns = 0, -1, 0
        self._demand = Demand(monotonic)
        self.begin()

    @property
    def homeless_count(self) -> int:
        """Versions that run nowhere."""
        return len(self._placed.homeless)

    def begin(self) -> None:
        """Know nothing: this registry writes from now on, and its nodes have a moment to report."""
        self._start_ns = self._monotonic()
        self._awake_at = time.monotonic()
        self._heard: dict[str, _Heard] = {}
        self._written: dict[str, tuple[InstanceStatus, ...]] = {}
        self._health: dict[str, Health] = {}
        self._has_looked_for_others = False  # nodes that the database knows from before
        self._placed = Placed((), {}, 0)
        self._demand.forget()
        self._changes += 1

    def fleet(self) -> Fleet:
        """The nodes as they are now."""
        resident: dict[str, int] = {}
        for heard in self._heard.values():
            for version, size in heard.report.capacity.resident_bytes.items():
                resident[version] = max(size, resident.get(version, 0))
        rooms = {node: self._room(heard) for node, heard in self._heard.items()}
        return Fleet(rooms, self._health_of_others(), resident, self._demand.uses())

    def _room(self, heard: _Heard) -> Room:
        capacity = heard.report.capacity
        free = capacity.free_memory_bytes if capacity.memory_bytes else serving.UNKNOWN_BYTES
        if capacity.devices:
            free = min(free, max(one.free_memory_bytes for one in capacity.devices))
        processes = heard.processes(self._monotonic())
        return Room(
            self._health_of(heard),
            free,
            capacity.max_instances,
            capacity.formats,
            capacity.libraries,
            processes,
            capacity.free_cache_bytes if capacity.cache_bytes else serving.UNKNOWN_BYTES,
            capacity.without_room,
        )

    async def write(self, verb: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a verb that needs to know the ``fleet``, as the database does."""
        try:
            return await self._database.write(verb, *args, fleet=self.fleet(), **kwargs)
        finally:
            self._changes += 1

    def _forgive_own_absence(self) -> None:
        """Wait for the nodes anew if this process was stopped: that it heard nobody is not their silence."""
        now = time.monotonic()
        if now - self._awake_at > _ABSENCE_S:
            self._start_ns = self._monotonic()
        self._awake_at = now

    async def report(self, report: NodeReport) -> int:
        """Take a node's whole present state. Returns how many of its replicas wait for their successors.

        Raises:
            InvalidArgumentError: the report makes no sense.
            FailedPreconditionError: two agents have the same node.
        """
        self._forgive_own_absence()
        report = serving.check_report(report)
        self._check_agent(report)
        absent_ns = serving.SUCCESSION_NS if report.has_successor else 0
        now_ns, before = self._monotonic(), self._heard.get(report.node)
        ready_ns = _ready_since(report, {} if before is None else before.ready_ns, now_ns)
        if report.capacity.without_room - (before.report.capacity.without_room if before else frozenset()):
            self._changes += 1  # maybe another node has room: the next sweep looks
        self._heard[report.node] = _Heard(report, now_ns + absent_ns, self._clock(), ready_ns)
        is_news = self._has_other_health()
        if is_news or report.instances != self._written.get(report.node):
            has_gone = before is not None and len(report.instances) < len(before.report.instances)
            is_awaited = self._placed.moving or self._placed.is_unmet or (has_gone and self._placed.waiting)
            await self._write(report, has_to_place=is_news or bool(is_awaited))
        return self._placed.moving.get(report.node, 0)

    async def note_demand(self, gateway_id: str, demands: Collection[VersionDemand]) -> None:
        """Take what a gateway has requests for; what runs nowhere gets a place, or that of others that are idle.

        Raises:
            InvalidArgumentError: the report makes no sense.
        """
        if self._demand.note(gateway_id, demands):
            await self._place_anew()

    def _check_agent(self, report: NodeReport) -> None:
        before = self._heard.get(report.node)
        if before is None or self._health_of(before) is Health.SILENT:
            return
        if before.report.is_leaving or before.report.has_successor:
            return
        if before.report.address != report.address:
            raise FailedPreconditionError(
                f"got {report.node} from {report.address}, an agent at {before.report.address} has it: "
                "give each a PENSTOCK_INFERENCE__NODE of its own"
            )

    async def _write(self, report: NodeReport, *, has_to_place: bool) -> None:
        seen, fleet = self._changes, self.fleet() if has_to_place else None
        placed = await self._database.write(_put, report.node, report.instances, fleet=fleet)
        self._written[report.node] = report.instances
        if placed is not None:
            self._on_evictions(placed.evictions)
            self._note(placed, seen)

    def _note(self, placed: Placed, seen: int) -> None:
        """``seen`` is the number of changes when it was decided."""
        self._placed, self._looked_ns = placed, self._monotonic()
        self._seen_changes = max(self._seen_changes, seen)
        self._demand.note_homeless(placed.homeless)

    async def sweep(self) -> None:
        """Have replicas placed anew where nodes came, went or fell silent, or where some wait for room.

        It is to be called several times a second.
        """
        self._forgive_own_absence()
        self._has_other_health()
        pause_ns = 0 if self._placed.is_unmet else serving.LOOK_AGAIN_NS
        is_waiting = (
            self._placed.waiting or self._is_short_of_room()
        ) and self._monotonic() - self._looked_ns >= pause_ns
        if self._seen_changes != self._changes or is_waiting:
            await self._place_anew()

    def _is_short_of_room(self) -> bool:
        return any(heard.report.capacity.without_room for heard in self._heard.values())

    async def _place_anew(self) -> None:
        seen, fleet = self._changes, self.fleet()
        placed = await self._database.read(placing.plan, fleet)
        if placed.changed:
            placed = await self._database.write(placing.place, fleet)
            self._on_evictions(placed.evictions)
        self._note(placed, seen)

    async def expire_silent(self) -> None:
        """Take their instances from nodes that were silent for long."""
        if self._has_looked_for_others and not any(map(self._is_expired, self._heard)):
            return
        self._has_looked_for_others = self._monotonic() - self._start_ns >= serving.EXPIRY_NS
        if await self._database.read(_list_silent, self._is_expired):
            for node in await self._database.write(_expire, self._is_expired):
                self._heard.pop(node, None)
                self._written.pop(node, None)

    def _has_other_health(self) -> bool:
        """Whether any node's health is another than when this was asked before; then placements are looked at."""
        health = {node: self._health_of(heard) for node, heard in self._heard.items()}
        health[""] = self._health_of_others()
        if health == self._health:
            return False
        self._health = health
        self._changes += 1
        return True

    def _health_of(self, heard: _Heard) -> Health:
        if self._monotonic() - max(heard.heard_ns, self._start_ns) >= serving.SILENCE_NS:
            return Health.SILENT
        return Health.LEAVING if heard.report.is_leaving else Health.ALIVE

    def _health_of_others(self) -> Health:
        """That of nodes that have placements, and were never heard."""
        return Health.UNHEARD if self._monotonic() - self._start_ns < serving.GRACE_NS else Health.SILENT

    def _is_expired(self, node: str) -> bool:
        heard = self._heard.get(node)
        return self._monotonic() - max(self._start_ns, heard.heard_ns if heard else 0) >= serving.EXPIRY_NS

    async def list(self, *, size: int, token: str) -> tuple[list[Node], str]:
        """A page of nodes, by name, and the token of the next one."""
        page = paging.parse("nodes", key_types=(str,), size=size, token=token)
        counts = await self._database.read(placing.count_replicas)
        ids = sorted(node.removeprefix("nodes/") for node in self._heard)
        rest = [one for one in ids if page.after is None or one > str(page.after[0])]
        found = [self._node(f"nodes/{one}", counts) for one in rest[: page.size]]
        return found, page.next_token((rest[page.size - 1],)) if len(rest) > page.size else ""

    def _node(self, node: str, counts: dict[str, int]) -> Node:
        heard = self._heard[node]
        return Node(heard.report, _STATES[self._health_of(heard)], counts.get(node, 0), heard.time_ns)


def _ready_since(report: NodeReport, before: Mapping[tuple[str, int], int], now_ns: int) -> dict[tuple[str, int], int]:
    ready = (serving.replica_of(one) for one in report.instances if one.state is InstanceState.READY)
    return {replica: before.get(replica, now_ns) for replica in ready if replica is not None}


def _put(
    tx: Transaction, node: str, statuses: tuple[InstanceStatus, ...], *, fleet: Fleet | None = None
) -> Placed | None:
    """Write down a report. With a fleet, replicas are placed too."""
    node_rows.note_node(tx, node)
    before = node_rows.list_instances(tx, node)
    if statuses != before:
        node_rows.put_instances(tx, node, statuses)
    placed = None if fleet is None else placing.place(tx, fleet)
    told = set() if placed is None else {one.model for one in placed.changed}
    for model in serving.changed_models(before, statuses):
        if model not in told and (deployment := tx.find(Deployment, model)) is not None:
            tx.announce(deployment)
    return placed


def _list_silent(tx: Transaction, is_silent: Callable[[str], bool]) -> list[str]:
    return list(filter(is_silent, node_rows.list_nodes(tx)))


def _expire(tx: Transaction, is_silent: Callable[[str], bool]) -> list[str]:
    silent = _list_silent(tx, is_silent)
    for node in silent:
        _put(tx, node, ())
        node_rows.forget_node(tx, node)
    return silent
