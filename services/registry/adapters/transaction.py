"""One SQL transaction over the registry's resources, with the change log that watchers follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from services.common.errors import NotFoundError, OutOfRangeError
from services.registry.adapters import codec, rows, tables
from services.registry.domain import etags
from services.registry.domain.callers import Caller
from services.registry.domain.changes import Change, Snapshot
from services.registry.domain.paging import Key
from services.registry.domain.resources import (
    Alias,
    Deployment,
    InstanceStatus,
    Model,
    ModelVersion,
    Resource,
    SigningKey,
)

R = TypeVar("R", Model, ModelVersion, Alias, Deployment, SigningKey)

_COMPACT_EVERY = 100


class Transaction:
    """What a verb works on. Used from one thread; committed when the verb returns, rolled back when it raises.

    Writing transactions run one after the other, over all processes on the database, so that what a verb has read is
    still true when it writes. ``now_ns`` is the transaction's instant, ``caller`` who asked for it.
    """

    def __init__(
        self, connection: Connection, *, now_ns: int, revision: int, changes_kept: int, caller: Caller
    ) -> None:
        self.connection = connection
        self.caller = caller
        self.now_ns = now_ns
        self.revision = revision
        self._changes_kept = changes_kept

    def find(self, kind: type[R], *key: str | int) -> R | None:
        found = self.select(kind, rows.KINDS[kind].is_key(key))
        return found[0] if found else None

    def get(self, kind: type[R], *key: str | int) -> R:
        """Raises: NotFoundError."""
        found = self.find(kind, *key)
        if found is None:
            raise NotFoundError(f"{rows.KINDS[kind].name_of(*map(str, key))} does not exist")
        return found

    def page(self, kind: type[R], *, model: str | None, after: Key | None = None, limit: int | None = None) -> list[R]:
        """At most ``limit`` resources of a kind after a key, of one model or of all."""
        mapping = rows.KINDS[kind]
        where = [] if model is None else [mapping.table.c.model == model]
        return self.select(kind, *where, *([] if after is None else [mapping.is_after(after)]), limit=limit)

    def select(
        self, kind: type[R], *where: ColumnElement[bool], order: Sequence[Any] = (), limit: int | None = None
    ) -> list[R]:
        """At most ``limit`` resources of a kind that match, in the order of lists or in another."""
        mapping = rows.KINDS[kind]
        statement = mapping.statement().where(*where).limit(limit)
        if order:
            statement = statement.order_by(None).order_by(*order)
        found: list[Any] = [mapping.from_row(row) for row in self.connection.execute(statement)]
        return self._with_instances(found) if mapping.table is tables.deployments else found

    def _with_instances(self, deployments: list[Deployment]) -> list[Any]:
        table = tables.instances
        of_model: dict[str, list[InstanceStatus]] = {one.model: [] for one in deployments}
        statement = select(table).where(table.c.model.in_(of_model)).order_by(table.c.node, table.c.instance)
        for row in self.connection.execute(statement):
            of_model[row.model].append(rows.instance(row))
        return [replace(one, instances=tuple(of_model[one.model])) for one in deployments]

    def put(self, resource: R) -> R:
        """Create or replace a resource under a fresh etag, and tell the watchers."""
        resource = replace(resource, etag=etags.of_revision(self.revision + 1))
        self.store(resource)
        self.announce(resource)
        return resource

    def store(self, resource: Resource) -> None:
        """Write what no watcher sees."""
        mapping = rows.KINDS[type(resource)]
        row = mapping.to_row(resource)
        where = mapping.is_key(mapping.key_of(resource))
        if not self.connection.execute(update(mapping.table).where(where).values(row)).rowcount:
            self.connection.execute(insert(mapping.table).values(row))

    def delete(self, resource: Resource) -> None:
        """Delete a resource, and tell the watchers."""
        mapping = rows.KINDS[type(resource)]
        self.connection.execute(delete(mapping.table).where(mapping.is_key(mapping.key_of(resource))))
        self._append(resource, codec.encode_deleted(resource), is_deleted=True)

    def announce(self, resource: Resource) -> None:
        """Tell the watchers of a resource as it is now."""
        self._append(resource, codec.encode(resource), is_deleted=False)

    def _append(self, resource: Resource, body: bytes, *, is_deleted: bool) -> None:
        self.revision += 1
        kind, log = rows.KINDS[type(resource)].field, tables.changes
        self.connection.execute(insert(log).values(revision=self.revision, kind=kind, body=body, is_deleted=is_deleted))
        if self.revision % _COMPACT_EVERY == 0:
            self.connection.execute(delete(log).where(log.c.revision <= self.revision - self._changes_kept))

    def changes_after(self, revision: int, *, limit: int) -> list[Change]:
        """The next changes, in order, without a gap.

        Raises:
            OutOfRangeError: they are no longer kept, or ``revision`` is none of this database's.
        """
        if revision == self.revision:
            return []
        table = tables.changes
        statement = select(table).where(table.c.revision > revision).order_by(table.c.revision).limit(limit)
        found = self.connection.execute(statement).all()
        if not found or found[0].revision != revision + 1:
            raise OutOfRangeError(
                f"changes after revision {revision} are not kept (the present one is {self.revision}): begin at 0"
            )
        return [Change(row.revision, row.kind, row.body, is_deleted=row.is_deleted) for row in found]

    def snapshot(self) -> Snapshot:
        """Everything there is."""
        changes = [
            Change(0, mapping.field, codec.encode(resource))
            for kind, mapping in rows.KINDS.items()
            for resource in self.select(kind)  # type: ignore[type-var]
        ]
        return Snapshot(self.revision, tuple(changes))
