"""The database: SQLite (WAL) or PostgreSQL, its threads and its transactions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc

from services.common.errors import PenstockError, ResourceExhaustedError, UnavailableError
from services.registry.adapters import heads
from services.registry.adapters.heads import Head
from services.registry.adapters.tables import REVISION
from services.registry.adapters.threads import run_in
from services.registry.adapters.transaction import Transaction
from services.registry.domain import callers
from services.registry.domain.callers import NOBODY, Caller

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

Clock = Callable[[], int]
"""Nanoseconds of Unix time: leases and expiry outlive a process, and registries share them."""

_READERS = 4
_BUSY_TIMEOUT_S = 15
_MIGRATION_LOCK = 8021
_WRITE = "registry_write"

NOT_WRITER = "NOT_WRITER"
"""The reason of an error that says that another registry writes."""


class Database:
    """Runs verbs as transactions, in threads.

    Writes of this process wait for each other in one thread, first come, first served; those of other processes are
    waited for by the database.
    """

    def __init__(self, url: str, *, clock: Clock, changes_kept: int) -> None:
        self._engine = _engine(url)
        self._clock = clock
        self._changes_kept = changes_kept
        self.on_commit: Callable[[int], None] = lambda _revision: None
        """Called on the event loop with the revision that a write brought."""
        self.term: int | None = None
        """The term in which this process may write; 0 for none, None where nobody else does."""
        self._readers = ThreadPoolExecutor(_READERS, "registry-read")
        self._writer = ThreadPoolExecutor(1, "registry-write")

    async def read(self, verb: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that writes nothing, on one consistent state.

        Raises:
            UnavailableError: the database can't be reached.
            PenstockError: what the verb raises.
        """
        return await run_in(self._readers, self._read, lambda tx: verb(tx, *args, **kwargs))

    async def write(self, verb: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb alone, and commit.

        Raises:
            UnavailableError: the database can't be reached, or another process writes (:data:`NOT_WRITER`).
            ResourceExhaustedError: its disk is full; nothing was written.
            PenstockError: what the verb raises; nothing was written.
        """
        loop = asyncio.get_running_loop()

        def committed(revision: int) -> None:
            # The loop may be gone when a write ends after its caller was cancelled by the process's end.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self.on_commit, revision)

        return await run_in(
            self._writer, self._write, lambda tx: verb(tx, *args, **kwargs), committed, callers.current()
        )

    async def head(self) -> Head:
        """The database's revision, and who writes.

        Raises:
            UnavailableError: the database can't be reached.
        """
        return await run_in(self._readers, self._head)

    async def contend(
        self, step: Callable[Concatenate[Connection, Head, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Take a step towards who writes: run alone, whoever does at present.

        Raises:
            UnavailableError: the database can't be reached.
        """
        return await run_in(self._writer, self._contend, lambda *found: step(*found, *args, **kwargs))

    async def migrate(self) -> None:
        """Bring the schema to this release's.

        Raises:
            UnavailableError: the database can't be reached.
            ValueError: the database was written by a newer release.
        """
        await run_in(self._writer, self._migrate)

    def close(self) -> None:
        """Wait for what is running, and disconnect."""
        self._readers.shutdown()
        self._writer.shutdown()
        self._engine.dispose()

    def _read(self, verb: Callable[[Transaction], T]) -> T:
        with _translated(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                return verb(self._transaction(connection, heads.read(connection).revision))

    def _write(self, verb: Callable[[Transaction], T], committed: Callable[[int], None], caller: Caller) -> T:
        with _translated(), self._begin_write() as connection:
            head = heads.read(connection, is_locked=True)
            self._check_term(head)
            before = head.revision
            transaction = self._transaction(connection, before, caller)
            result = verb(transaction)
            if transaction.revision != before:
                heads.write_revision(connection, transaction.revision)
        if transaction.revision != before:
            committed(transaction.revision)
        return result

    def _check_term(self, head: Head) -> None:
        """Raises: UnavailableError: another process writes."""
        if self.term is not None and self.term != head.term:
            self.term = 0
            raise UnavailableError("another registry writes by now, try again", reason=NOT_WRITER)

    def _head(self) -> Head:
        with _translated(), self._engine.connect() as connection:
            return heads.read(connection)

    def _contend(self, step: Callable[[Connection, Head], T]) -> T:
        with _translated(), self._begin_write() as connection:
            return step(connection, heads.read(connection, is_locked=True))

    @contextlib.contextmanager
    def _begin_write(self) -> Iterator[Connection]:
        with self._connect_writer() as connection, connection.begin():
            yield connection

    def _connect_writer(self) -> Connection:
        return self._engine.connect().execution_options(**{_WRITE: True})

    def _transaction(self, connection: Connection, revision: int, caller: Caller = NOBODY) -> Transaction:
        return Transaction(
            connection, now_ns=self._clock(), revision=revision, changes_kept=self._changes_kept, caller=caller
        )

    def _migrate(self) -> None:
        with _translated(), self._connect_writer() as connection, _unreferenced(connection), connection.begin():
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            if not _is_current(connection):
                from services.registry.adapters.schema import upgrade  # Alembic: 11 MB that few starts need

                upgrade(connection)


@contextlib.contextmanager
def _unreferenced(connection: Connection) -> Iterator[None]:
    """Let a table make place for another one: SQLite can't change all that a table is."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    driver.execute("PRAGMA foreign_keys=OFF")  # has no effect within a transaction
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def _is_current(connection: Connection) -> bool:
    has_version = sqlalchemy.inspect(connection).has_table("alembic_version")
    return has_version and connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version")) == REVISION


def _engine(url: str) -> Engine:
    """Raises: ValueError: the URL is none of SQLite or PostgreSQL."""
    try:
        parsed = sqlalchemy.make_url(url)
    except exc.ArgumentError:
        raise ValueError("can't read database_url, expected sqlite:///PATH or postgresql://…") from None
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return _sqlite(parsed)
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _postgresql(parsed.set(drivername="postgresql+psycopg"))
    raise ValueError(
        f"got database_url {parsed.render_as_string(hide_password=True)}, expected sqlite:///PATH or postgresql://…"
    )


def _sqlite(url: sqlalchemy.URL) -> Engine:
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S}, pool_size=_READERS + 1)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # The driver would begin transactions by itself, and only at the first write.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # A reader that turns writer fails at once when another wrote meanwhile; one that begins as a writer waits.
        is_write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def _postgresql(url: sqlalchemy.URL) -> Engine:
    # No writer may keep the others waiting for ever: neither in a statement, nor by a process that hangs.
    limits = "-c lock_timeout=15s -c statement_timeout=30s -c idle_in_transaction_session_timeout=10s"
    connect_args = {"connect_timeout": 5, "options": limits}
    try:
        return sqlalchemy.create_engine(url, connect_args=connect_args, pool_size=_READERS + 1, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ValueError("PostgreSQL needs one package more, expected penstock[postgresql] to be installed") from error


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PenstockError:
        raise
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        _log.warning("the database failed: %s", error)
        if "full" in str(error.__cause__).lower() or getattr(error.__cause__, "sqlstate", None) == "53100":
            raise ResourceExhaustedError("the disk of the registry's database is full") from error
        raise UnavailableError("the registry's database can't be reached or is busy, try again") from error
