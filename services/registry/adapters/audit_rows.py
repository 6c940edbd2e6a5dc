"""The audit log's rows: appended to a chain, and never touched again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select

from penstock.audit import BEGINNING, digest_of
from services.registry.adapters.tables import audit_entries as table
from services.registry.adapters.transaction import Transaction
from services.registry.domain.audit import Entry, canonical


def append(tx: Transaction, *, actor: str, action: str, resource: str, model: str, details: Mapping[str, Any]) -> None:
    """Add an entry. Writing transactions run one after the other, so that the chain has no forks."""
    last = tx.connection.execute(
        select(table.c.sequence, table.c.sha256).order_by(table.c.sequence.desc()).limit(1)
    ).one_or_none()
    sequence, previous = (last.sequence + 1, last.sha256) if last else (1, BEGINNING)
    text = canonical(details)
    digest = digest_of(
        sequence=sequence,
        time_ns=tx.now_ns,
        actor=actor,
        peer=tx.caller.peer,
        action=action,
        resource=resource,
        details=text,
        previous=previous,
    )
    tx.connection.execute(
        insert(table).values(
            sequence=sequence,
            log_time_ns=tx.now_ns,
            actor=actor,
            peer=tx.caller.peer,
            action=action,
            resource=resource,
            model=model,
            details=text,
            previous_sha256=previous,
            sha256=digest,
        )
    )


def page(tx: Transaction, *, model: str | None, since_ns: int, after: int, limit: int) -> list[Entry]:
    """The entries after one, given by its number, in order; of one model or of all, and from an instant on."""
    where = [table.c.sequence > after, table.c.log_time_ns >= since_ns]
    where += [] if model is None else [table.c.model == model]
    rows = tx.connection.execute(select(table).where(*where).order_by(table.c.sequence).limit(limit))
    return [Entry(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for a row's columns
