"""Sources as rows. No watcher follows them: they concern the registry that writes, and whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select, update

from services.common import names
from services.common.errors import NotFoundError
from services.registry.adapters.tables import sources as table
from services.registry.adapters.transaction import Transaction
from services.registry.domain.source_progress import Event, Progress
from services.registry.domain.sources import Location, Source, SourceTrust

_WANTED = (
    "location",
    "poll_ns",
    "settle_ns",
    "check_ns",
    "trust",
    "format",
    "manifest",
    "plan",
    "is_paused",
)


def find(tx: Transaction, source: str) -> Source | None:
    found = _select(tx, table.c.source == source)
    return found[0] if found else None


def get(tx: Transaction, source: str) -> Source:
    """Raises: NotFoundError."""
    found = find(tx, source)
    if found is None:
        raise NotFoundError(f"{names.source_name(source)} does not exist")
    return found


def page(tx: Transaction, *, after: str = "", limit: int | None = None) -> list[Source]:
    """Sources by id, those after one."""
    return _select(tx, table.c.source > after, limit=limit)


def of_model(tx: Transaction, model: str) -> list[Source]:
    return _select(tx, table.c.model == model)


def put(tx: Transaction, source: Source) -> Source:
    """Create or replace what is asked for, under another etag than before, with what is known of it."""
    present = find(tx, source.id)
    generation = 0 if present is None else int(present.etag.rpartition(".")[2]) + 1
    source = replace(source, update_time_ns=tx.now_ns, etag=f"{source.create_time_ns:x}.{generation}")
    row = {
        "model": source.model,
        "wanted": {name: value for name, value in asdict(source).items() if name in _WANTED},
        "progress": asdict(source.progress),
        "create_time_ns": source.create_time_ns,
        "update_time_ns": source.update_time_ns,
        "creator": source.creator,
        "etag": source.etag,
    }
    if present is None:
        tx.connection.execute(insert(table).values(source=source.id, **row))
    else:
        tx.connection.execute(update(table).where(table.c.source == source.id).values(row))
    return source


def note(tx: Transaction, source: Source, progress: Progress) -> Source:
    """Write down what is known by now; the etag stays."""
    tx.connection.execute(update(table).where(table.c.source == source.id).values(progress=asdict(progress)))
    return replace(source, progress=progress)


def remove(tx: Transaction, source: Source) -> None:
    tx.connection.execute(delete(table).where(table.c.source == source.id))


def _select(tx: Transaction, *where: ColumnElement[bool], limit: int | None = None) -> list[Source]:
    rows = tx.connection.execute(select(table).where(*where).order_by(table.c.source).limit(limit))
    return [_source(row) for row in rows]


def _source(row: Row[Any]) -> Source:
    wanted: Mapping[str, Any] = row.wanted
    events = tuple(Event(**one) for one in row.progress.get("events", ()))
    return Source(
        id=row.source,
        model=row.model,
        create_time_ns=row.create_time_ns,
        update_time_ns=row.update_time_ns,
        creator=row.creator,
        etag=row.etag,
        progress=Progress(**{**row.progress, "events": events}),
        **{
            **wanted,
            "location": Location(**wanted["location"]),
            "trust": SourceTrust(**wanted["trust"]),
        },
    )
