"""What agents report of their nodes, and what becomes of a node that reports no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from services.registry import placing
from services.registry.adapters import node_rows
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.node_rows import NodeRow
from services.registry.adapters.transaction import Transaction
from services.registry.domain import paging, serving
from services.registry.domain.placement import Fleet, Health, Room
from services.registry.domain.resources import Deployment, InstanceStatus, Node, NodeReport, NodeState
from services.registry.placing import Placed

T = TypeVar("T")

_STATES = {Health.ALIVE: NodeState.ALIVE, Health.LEAVING: NodeState.LEAVING, Health.SILENT: NodeState.SILENT}


@dataclass(frozen=True, slots=True)
class _Heard:
    """A node's last report, and when it came."""

    report: NodeReport
    heard_ns: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class _Written:
    """What the database has of a node, and when it was written."""

    instances: tuple[InstanceStatus, ...]
    time_ns: int


class Nodes:
    """Takes reports, and has replicas placed. Heartbeats that change nothing are remembered here and not written.

    ``registry`` is this registry's name among those on the database, the same after a restart. ``clock`` tells Unix
    time; ``monotonic`` is what silence is measured by.
    """

    def __init__(self, database: Database, *, registry: str, clock: Clock, monotonic: Clock) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock
        self._monotonic = monotonic
        self._start_ns = monotonic()
        self._heard: dict[str, _Heard] = {}
        self._written: dict[str, _Written] = {}
        self._health: dict[str, Health] = {}
        self._placed = Placed((), {}, 0)
        self._changes, self._seen_changes, self._looked_ns = 0, -1, 0

    def fleet(self) -> Fleet:
        """The nodes as they are now."""
        resident: dict[str, int] = {}
        for heard in self._heard.values():
            for version, size in heard.report.capacity.resident_bytes.items():
                resident[version] = max(size, resident.get(version, 0))
        rooms = {node: _room(heard.report, self._health_of(heard)) for node, heard in self._heard.items()}
        return Fleet(rooms, self._health_of_others(), resident)

    async def write(self, verb: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a verb that needs to know the ``fleet``, as the database does."""
        try:
            return await self._database.write(verb, *args, fleet=self.fleet(), **kwargs)
        finally:
            self._changes += 1

    def forgive(self) -> None:
        """Begin to wait for the nodes anew: this registry itself was away, and has heard nobody."""
        self._start_ns = self._monotonic()

    async def report(self, report: NodeReport) -> int:
        """Take a node's whole present state. Returns how many of its replicas wait for their successors.

        Raises:
            InvalidArgumentError: the report makes no sense.
        """
        report = serving.check_report(report)
        self._heard[report.node] = _Heard(report, self._monotonic(), self._clock())
        is_news = self._has_other_health()
        written = self._written.get(report.node)
        is_due = written is None or self._clock() - written.time_ns >= serving.RENEWAL_NS
        if is_news or is_due or written is None or report.instances != written.instances:
            await self._write(report, has_to_place=is_news or bool(self._placed.moving))
        return self._placed.moving.get(report.node, 0)

    async def _write(self, report: NodeReport, *, has_to_place: bool) -> None:
        row, seen = NodeRow(report.node, self._registry, self._clock()), self._changes
        fleet = self.fleet() if has_to_place else None
        placed = await self._database.write(_put, row, report.instances, fleet=fleet)
        self._written[report.node] = _Written(report.instances, row.seen_ns)
        if placed is not None:
            self._note(placed, seen)

    def _note(self, placed: Placed, seen: int) -> None:
        """``seen`` is the number of changes when it was decided."""
        self._placed, self._looked_ns = placed, self._monotonic()
        self._seen_changes = max(self._seen_changes, seen)

    async def sweep(self) -> None:
        """Have replicas placed anew where nodes came, went or fell silent, or where some wait for room."""
        self._has_other_health()
        is_waiting = self._placed.waiting and self._monotonic() - self._looked_ns >= serving.LOOK_AGAIN_NS
        if self._seen_changes == self._changes and not is_waiting:
            return
        seen, fleet = self._changes, self.fleet()
        placed = await self._database.read(placing.plan, fleet)
        if placed.changed:
            placed = await self._database.write(placing.place, fleet)
        self._note(placed, seen)

    async def expire_silent(self) -> None:
        """Take their instances from nodes that were silent for long."""
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

    def _is_expired(self, row: NodeRow) -> bool:
        heard = self._heard.get(row.node)
        return serving.is_expired(
            silent_ns=self._monotonic() - max(self._start_ns, heard.heard_ns if heard else 0),
            seen_ns=row.seen_ns,
            is_own=row.registry == self._registry,
            now_ns=self._clock(),
        )

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


def _room(report: NodeReport, health: Health) -> Room:
    capacity = report.capacity
    free = capacity.free_memory_bytes if capacity.memory_bytes else serving.UNKNOWN_BYTES
    if capacity.devices:
        free = min(free, max(one.free_memory_bytes for one in capacity.devices))
    return Room(health, free, capacity.max_instances)


def _put(
    tx: Transaction, row: NodeRow, statuses: tuple[InstanceStatus, ...], *, fleet: Fleet | None = None
) -> Placed | None:
    """Write down a report. With a fleet, replicas are placed too."""
    node_rows.put_node(tx, row)
    before = node_rows.list_instances(tx, row.node)
    if statuses != before:
        node_rows.put_instances(tx, row.node, statuses)
    placed = None if fleet is None else placing.place(tx, fleet)
    told = set() if placed is None else {one.model for one in placed.changed}
    for model in serving.changed_models(before, statuses):
        if model not in told and (deployment := tx.find(Deployment, model)) is not None:
            tx.announce(deployment)
    return placed


def _list_silent(tx: Transaction, is_silent: Callable[[NodeRow], bool]) -> list[NodeRow]:
    return [row for row in node_rows.list_nodes(tx) if is_silent(row)]


def _expire(tx: Transaction, is_silent: Callable[[NodeRow], bool]) -> list[str]:
    silent = _list_silent(tx, is_silent)
    for row in silent:
        _put(tx, row, ())
        node_rows.forget_node(tx, row.node)
    return [row.node for row in silent]
