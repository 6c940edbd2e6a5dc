"""Which content is kept, and for whom."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, insert, select, update

from services.common import names
from services.registry.adapters.tables import artifacts, versions
from services.registry.adapters.transaction import Transaction


def find_size(tx: Transaction, sha256: str) -> int | None:
    """Size in bytes of known content."""
    return tx.connection.scalar(select(artifacts.c.size_bytes).where(artifacts.c.sha256 == sha256))


def keep(tx: Transaction, sha256: str, *, size_bytes: int, until_ns: int) -> None:
    """Note content, and keep it at least until an instant, whether a version names it or not."""
    row = {"size_bytes": size_bytes, "keep_until_ns": until_ns}
    if not tx.connection.execute(update(artifacts).where(artifacts.c.sha256 == sha256).values(row)).rowcount:
        tx.connection.execute(insert(artifacts).values(sha256=sha256, **row))


def release(tx: Transaction, sha256: str) -> None:
    """Keep content only for as long as a version names it."""
    tx.connection.execute(update(artifacts).where(artifacts.c.sha256 == sha256).values(keep_until_ns=0))


def list_unreferenced(tx: Transaction) -> list[str]:
    """Content that no version names and nobody was promised."""
    is_named = select(versions.c.sha256).where(versions.c.sha256 == artifacts.c.sha256).exists()
    statement = select(artifacts.c.sha256).where(artifacts.c.keep_until_ns <= tx.now_ns, ~is_named)
    return list(tx.connection.scalars(statement))


def forget(tx: Transaction, sha256: str) -> None:
    tx.connection.execute(delete(artifacts).where(artifacts.c.sha256 == sha256))


def describe_versions(tx: Transaction, models: Collection[str]) -> dict[str, tuple[int, int]]:
    """Size in bytes and format of the content of each version of some models, by the version's name."""
    columns = (versions.c.model, versions.c.version, artifacts.c.size_bytes, versions.c.format)
    statement = select(*columns).select_from(versions.join(artifacts)).where(versions.c.model.in_(models))
    rows = tx.connection.execute(statement)
    return {names.version_name(model, str(version)): (size, found) for model, version, size, found in rows}


def total_bytes(tx: Transaction) -> int:
    """Bytes of all content that is kept."""
    return int(tx.connection.scalar(select(func.coalesce(func.sum(artifacts.c.size_bytes), 0))) or 0)
