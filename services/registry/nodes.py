"""What agents report of their nodes, and what becomes of a node that reports no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.registry.adapters import node_rows
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.node_rows import NodeRow
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids, serving
from services.registry.domain.resources import Deployment, InstanceStatus


class Nodes:
    """Takes reports. Heartbeats that change nothing are remembered here and not written.

    ``registry`` is this registry's name among those on the database, the same after a restart: what reported to it
    before is given :data:`serving.SILENCE_NS` to do so again.
    """

    def __init__(self, database: Database, *, registry: str, clock: Clock) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock
        self._start_ns = clock()
        self._heard_ns: dict[str, int] = {}

    async def report(self, node: str, statuses: Sequence[InstanceStatus]) -> None:
        """Take a node's whole present state.

        Raises:
            InvalidArgumentError: the report makes no sense.
        """
        checked = serving.check_report(ids.check_node(node), statuses)
        self._heard_ns[node] = self._clock()
        if not await self._database.read(_is_known, node, checked, registry=self._registry):
            await self._database.write(_put, NodeRow(node, self._registry, self._clock()), checked)

    async def expire_silent(self) -> None:
        """Take their instances from the nodes that were silent for too long."""
        if await self._database.read(_list_silent, self._is_silent):
            for node in await self._database.write(_expire, self._is_silent):
                self._heard_ns.pop(node, None)

    def _is_silent(self, row: NodeRow) -> bool:
        return serving.is_silent(
            heard_ns=self._heard_ns.get(row.node, self._start_ns),
            seen_ns=row.seen_ns,
            is_own=row.registry == self._registry,
            now_ns=self._clock(),
        )


def _is_known(tx: Transaction, node: str, statuses: tuple[InstanceStatus, ...], *, registry: str) -> bool:
    row = node_rows.find_node(tx, node)
    return (
        row is not None
        and row.registry == registry
        and tx.now_ns - row.seen_ns < serving.RENEWAL_NS
        and node_rows.list_instances(tx, node) == statuses
    )


def _put(tx: Transaction, row: NodeRow, statuses: tuple[InstanceStatus, ...]) -> None:
    node_rows.put_node(tx, row)
    before = node_rows.list_instances(tx, row.node)
    if statuses == before:
        return
    node_rows.put_instances(tx, row.node, statuses)
    for model in serving.changed_models(before, statuses):
        if (deployment := tx.find(Deployment, model)) is not None:
            tx.announce(deployment)


def _list_silent(tx: Transaction, is_silent: Callable[[NodeRow], bool]) -> list[NodeRow]:
    return [row for row in node_rows.list_nodes(tx) if is_silent(row)]


def _expire(tx: Transaction, is_silent: Callable[[NodeRow], bool]) -> list[str]:
    silent = _list_silent(tx, is_silent)
    for row in silent:
        _put(tx, row, ())
        node_rows.forget_node(tx, row.node)
    return [row.node for row in silent]
