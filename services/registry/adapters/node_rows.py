"""What the nodes reported, and to which registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from services.registry.adapters import rows
from services.registry.adapters.tables import instances, nodes
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids
from services.registry.domain.resources import InstanceStatus


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node, the registry that it reports to, and when that registry last wrote so."""

    node: str
    registry: str
    seen_ns: int


def list_nodes(tx: Transaction) -> list[NodeRow]:
    return [NodeRow(*row) for row in tx.connection.execute(select(nodes.c.node, nodes.c.registry, nodes.c.seen_ns))]


def find_node(tx: Transaction, node: str) -> NodeRow | None:
    statement = select(nodes.c.node, nodes.c.registry, nodes.c.seen_ns).where(nodes.c.node == node)
    row = tx.connection.execute(statement).one_or_none()
    return None if row is None else NodeRow(*row)


def put_node(tx: Transaction, row: NodeRow) -> None:
    values = {"registry": row.registry, "seen_ns": row.seen_ns}
    if not tx.connection.execute(update(nodes).where(nodes.c.node == row.node).values(values)).rowcount:
        tx.connection.execute(insert(nodes).values(node=row.node, **values))


def forget_node(tx: Transaction, node: str) -> None:
    """The node must have no instances left."""
    tx.connection.execute(delete(nodes).where(nodes.c.node == node))


def list_instances(tx: Transaction, node: str) -> tuple[InstanceStatus, ...]:
    """A node's instances, by name."""
    statement = select(instances).where(instances.c.node == node).order_by(instances.c.instance)
    return tuple(rows.instance(row) for row in tx.connection.execute(statement))


def put_instances(tx: Transaction, node: str, statuses: Sequence[InstanceStatus]) -> None:
    """Replace all of a node's instances."""
    tx.connection.execute(delete(instances).where(instances.c.node == node))
    if statuses:
        values = [rows.instance_row(one, model=ids.parse_version(one.version)[0]) for one in statuses]
        tx.connection.execute(insert(instances), values)
