"""Which content is kept, where, and for whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, insert, select, update

from services.common import names
from services.common.errors import AbortedError
from services.registry.adapters.tables import artifacts, deployments, garbage, signed_files, version_files, versions
from services.registry.adapters.transaction import Transaction
from services.registry.domain.garbage import Stored
from services.registry.domain.resources import ModelVersion


def find(tx: Transaction, sha256: str) -> Stored | None:
    return next(_contents(tx, artifacts.c.sha256 == sha256), None)


def keep(tx: Transaction, sha256: str, *, until_ns: int) -> Stored | None:
    """Known content, kept at least until an instant, whether a version names it or not."""
    is_it = (artifacts.c.sha256 == sha256) & (artifacts.c.keep_until_ns < until_ns)
    tx.connection.execute(update(artifacts).where(is_it).values(keep_until_ns=until_ns))
    return find(tx, sha256)


def announce(tx: Transaction, stored: Stored, *, until_ns: int) -> None:
    """Write down that something will be stored; unless it is :func:`noted <note>` until then, it is removed."""
    values = {"key": stored.key, "sha256": stored.sha256, "size_bytes": stored.size_bytes, "remove_ns": until_ns}
    tx.connection.execute(insert(garbage).values(values))


def note(tx: Transaction, stored: Stored, *, until_ns: int) -> None:
    """Make what was announced, and is stored now, the content with its digest; keep it at least until an instant.

    Raises:
        AbortedError: that took so long that it was removed.
    """
    if not tx.connection.execute(delete(garbage).where(garbage.c.key == stored.key)).rowcount:
        raise AbortedError(f"storing {stored.sha256} took too long: call StartUpload to go on")
    former = find(tx, stored.sha256)
    row = {"size_bytes": stored.size_bytes, "key": stored.key, "keep_until_ns": until_ns}
    if former is None:
        tx.connection.execute(insert(artifacts).values(sha256=stored.sha256, **row))
    else:
        tx.connection.execute(update(artifacts).where(artifacts.c.sha256 == stored.sha256).values(row))
        announce(tx, former, until_ns=tx.now_ns)


def name(tx: Transaction, version: ModelVersion) -> None:
    """Keep a version's content for as long as it names it."""
    key = {"model": version.model, "version": version.number}
    digests = sorted({one.sha256 for one in version.files})
    tx.connection.execute(insert(version_files), [{**key, "sha256": sha256} for sha256 in digests])


def unname(tx: Transaction, version: ModelVersion) -> None:
    """Let go of a version's content."""
    of_version = (version_files.c.model == version.model) & (version_files.c.version == version.number)
    tx.connection.execute(delete(version_files).where(of_version))
    is_named = select(version_files.c.sha256).where(version_files.c.sha256 == signed_files.c.sha256).exists()
    tx.connection.execute(delete(signed_files).where(~is_named))


def copy(tx: Transaction, sha256: str, content: bytes) -> None:
    """Have a small file at hand in transactions, for as long as a version names it."""
    if read_copy(tx, sha256) is None:
        tx.connection.execute(insert(signed_files).values(sha256=sha256, content=content))


def read_copy(tx: Transaction, sha256: str) -> bytes | None:
    content: bytes | None = tx.connection.scalar(select(signed_files.c.content).where(signed_files.c.sha256 == sha256))
    return content


def list_unneeded(tx: Transaction, *, kept_until_ns: int) -> list[Stored]:
    """Content that no version names, and that nobody was promised beyond an instant."""
    is_named = select(version_files.c.sha256).where(version_files.c.sha256 == artifacts.c.sha256).exists()
    return list(_contents(tx, (artifacts.c.keep_until_ns <= kept_until_ns) & ~is_named))


def give_up(tx: Transaction, *, kept_until_ns: int) -> None:
    """Forget :func:`content that nobody needs <list_unneeded>`; what is under its keys is garbage from now on."""
    for stored in list_unneeded(tx, kept_until_ns=kept_until_ns):
        tx.connection.execute(delete(artifacts).where(artifacts.c.sha256 == stored.sha256))
        announce(tx, stored, until_ns=tx.now_ns)


def list_garbage(tx: Transaction) -> list[Stored]:
    """What is to be removed by now."""
    columns = (garbage.c.sha256, garbage.c.size_bytes, garbage.c.key)
    rows = tx.connection.execute(select(*columns).where(garbage.c.remove_ns <= tx.now_ns))
    return [Stored(sha256, size_bytes, key) for sha256, size_bytes, key in rows]


def list_announced(tx: Transaction) -> set[str]:
    """Keys of what may be on its way to be stored."""
    return set(tx.connection.scalars(select(garbage.c.key).where(garbage.c.remove_ns > tx.now_ns)))


def forget_garbage(tx: Transaction, keys: Iterable[str]) -> None:
    for key in keys:
        tx.connection.execute(delete(garbage).where(garbage.c.key == key))


class Described(NamedTuple):
    """What placement needs to know of a version: size of content, format, what a process takes, libraries for steps."""

    size_bytes: int = 0
    format: str = ""
    resident_bytes: int = 0
    libraries: Sequence[str] = ()

    @property
    def need_bytes(self) -> int:
        return max(self.size_bytes, self.resident_bytes)


def describe_versions(tx: Transaction, models: Collection[str]) -> dict[str, Described]:
    """Those of some models, by the version's name."""
    table = versions.c
    columns = (table.model, table.version, table.size_bytes, table.format, table.validation_report)
    rows = tx.connection.execute(select(*columns).where(table.model.in_(models)))
    found = {}
    for model, version, size, kind, report in rows:
        known = {name: report[name] for name in ("resident_bytes", "libraries") if name in (report or {})}
        found[names.version_name(model, str(version))] = Described(size, kind, **known)
    return found


def deployed_versions(tx: Transaction) -> set[str]:
    """Names of all versions that deployments have."""
    return {name for listed in tx.connection.scalars(select(deployments.c.versions)) for name in listed}


def total_bytes(tx: Transaction) -> int:
    """Bytes of all content that is kept."""
    return int(tx.connection.scalar(select(func.coalesce(func.sum(artifacts.c.size_bytes), 0))) or 0)


def _contents(tx: Transaction, where: ColumnElement[bool]) -> Iterator[Stored]:
    columns = (artifacts.c.sha256, artifacts.c.size_bytes, artifacts.c.key)
    for sha256, size_bytes, key in tx.connection.execute(select(*columns).where(where)):
        yield Stored(sha256, size_bytes, key)
