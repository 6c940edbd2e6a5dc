"""Content that was revoked."""

from __future__ import annotations

from sqlalchemy import insert, select

from services.registry.adapters.tables import revoked_content as table
from services.registry.adapters.transaction import Transaction
from services.registry.domain.resources import Trust


def find(tx: Transaction, digest: str) -> Trust | None:
    """When, by whom and why content was revoked, if it was."""
    columns = (table.c.revoke_time_ns, table.c.revoker, table.c.revoke_reason)
    row = tx.connection.execute(select(*columns).where(table.c.digest == digest)).one_or_none()
    return None if row is None else Trust(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row's columns


def put(tx: Transaction, digest: str, *, reason: str) -> None:
    row = {"revoke_time_ns": tx.now_ns, "revoker": tx.caller.actor, "revoke_reason": reason}
    tx.connection.execute(insert(table).values(digest=digest, **row))
