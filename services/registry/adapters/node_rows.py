"""What the nodes reported."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from services.registry.adapters import rows
from services.registry.adapters.tables import instances, nodes
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids
from services.registry.domain.resources import InstanceStatus


def list_nodes(tx: Transaction) -> list[str]:
    return list(tx.connection.scalars(select(nodes.c.node)))


def note_node(tx: Transaction, node: str) -> None:
    if tx.connection.scalar(select(nodes.c.node).where(nodes.c.node == node)) is None:
        tx.connection.execute(insert(nodes).values(node=node))


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
