"""Which content is kept, and for whom."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import delete, func, insert, select, update

from services.common import names
from services.registry.adapters.tables import artifacts, deployments, version_files, versions
from services.registry.adapters.transaction import Transaction
from services.registry.domain.resources import ModelVersion


def find_size(tx: Transaction, sha256: str) -> int | None:
    """Size in bytes of known content."""
    return tx.connection.scalar(select(artifacts.c.size_bytes).where(artifacts.c.sha256 == sha256))


def keep(tx: Transaction, sha256: str, *, size_bytes: int, until_ns: int) -> None:
    """Note content, and keep it at least until an instant, whether a version names it or not."""
    row = {"size_bytes": size_bytes, "keep_until_ns": until_ns}
    if not tx.connection.execute(update(artifacts).where(artifacts.c.sha256 == sha256).values(row)).rowcount:
        tx.connection.execute(insert(artifacts).values(sha256=sha256, **row))


def name(tx: Transaction, version: ModelVersion) -> None:
    """Keep a version's content, and no longer than it names it."""
    digests = sorted({one.sha256 for one in version.files})
    for sha256 in digests:
        tx.connection.execute(update(artifacts).where(artifacts.c.sha256 == sha256).values(keep_until_ns=0))
    key = {"model": version.model, "version": version.number}
    tx.connection.execute(insert(version_files), [{**key, "sha256": sha256} for sha256 in digests])


def unname(tx: Transaction, version: ModelVersion) -> None:
    """Let go of a version's content."""
    of_version = (version_files.c.model == version.model) & (version_files.c.version == version.number)
    tx.connection.execute(delete(version_files).where(of_version))


def list_unreferenced(tx: Transaction) -> list[str]:
    """Content that no version names and nobody was promised."""
    is_named = select(version_files.c.sha256).where(version_files.c.sha256 == artifacts.c.sha256).exists()
    statement = select(artifacts.c.sha256).where(artifacts.c.keep_until_ns <= tx.now_ns, ~is_named)
    return list(tx.connection.scalars(statement))


def forget(tx: Transaction, sha256: str) -> None:
    tx.connection.execute(delete(artifacts).where(artifacts.c.sha256 == sha256))


class Described(NamedTuple):
    """What placement needs to know of a version: the size of its content, its format, what a process of it takes."""

    size_bytes: int = 0
    format: str = ""
    resident_bytes: int = 0

    @property
    def need_bytes(self) -> int:
        return max(self.size_bytes, self.resident_bytes)


def describe_versions(tx: Transaction, models: Collection[str]) -> dict[str, Described]:
    """Those of some models, by the version's name."""
    table = versions.c
    columns = (table.model, table.version, table.size_bytes, table.format, table.validation_report)
    rows = tx.connection.execute(select(*columns).where(table.model.in_(models)))
    return {
        names.version_name(model, str(version)): Described(size, found, (report or {}).get("resident_bytes", 0))
        for model, version, size, found, report in rows
    }


def deployed_versions(tx: Transaction) -> set[str]:
    """Names of all versions that deployments have."""
    return {name for listed in tx.connection.scalars(select(deployments.c.versions)) for name in listed}


def total_bytes(tx: Transaction) -> int:
    """Bytes of all content that is kept."""
    return int(tx.connection.scalar(select(func.coalesce(func.sum(artifacts.c.size_bytes), 0))) or 0)
