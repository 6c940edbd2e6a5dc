"""The monitor's database: SQLite, or what else SQLAlchemy has a driver for. Blocking."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from services.common.errors import InvalidArgumentError, UnavailableError

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5
_POSTGRESQL = {
    "connect_timeout": _CONNECT_TIMEOUT_S,
    # Of a host that is gone without a word, TCP itself would wait a quarter of an hour for an answer.
    "tcp_user_timeout": 5_000,
    "options": "-c statement_timeout=5s",
}


def driver_url(url: str) -> sa.URL:
    """A database's URL with the driver that is used."""
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def engine_of(url: str) -> Engine:
    """An engine that gives up what takes longer than seconds.

    Raises:
        sqlalchemy.exc.ArgumentError: it is no URL of a database.
        ModuleNotFoundError: there is no driver.
    """
    parsed = driver_url(url)
    is_postgresql = parsed.get_backend_name() == "postgresql"
    engine = sa.create_engine(parsed, connect_args=_POSTGRESQL if is_postgresql else {})
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA busy_timeout=5000")

    return engine


def make(engine: Engine, metadata: sa.MetaData) -> None:
    """Make the tables that are missing, and the columns that those of an earlier release lack.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database can't be used.
    """
    metadata.create_all(engine)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in sa.inspect(engine).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                statement = sa.schema.CreateColumn(column).compile(engine)
                with engine.begin() as connection:
                    connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {statement}"))


def replace(connection: Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
    """Write a row in place of the one with its primary key, if there is one."""
    connection.execute(sa.delete(table).where(*(key == row[key.name] for key in table.primary_key)))
    connection.execute(sa.insert(table), row)


def thin(
    connection: Connection, table: sa.Table, *, by: sa.Column[Any], kept: int, is_done: sa.ColumnElement[bool]
) -> None:
    """Delete the rows that are done, but for so many: the last ones by a column."""
    oldest_kept = sa.select(by).order_by(by.desc()).offset(kept).limit(1).scalar_subquery()
    connection.execute(sa.delete(table).where(is_done, by <= oldest_kept))


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """What fails in here is raised as one of our errors.

    Raises:
        InvalidArgumentError: the database will never take these values.
        UnavailableError: anything else; trying again may help.
    """
    try:
        yield
    except (sa.exc.DataError, sa.exc.IntegrityError, OverflowError, UnicodeError) as error:
        why = getattr(error, "orig", error)
        raise InvalidArgumentError(f"the monitor's database can't hold these values: {why}") from error
    except sa.exc.SQLAlchemyError as error:
        _log.warning("the database failed: %s", error)
        raise UnavailableError("the monitor's database can't be used now, try again") from error
