"""Incidents and references in a database: SQLite, or what else SQLAlchemy has a driver for. Blocking."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from services.common.errors import UnavailableError
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Cause, Phase, Severity, Signal

_log = logging.getLogger(__name__)

_LISTS = ("traces", "innocent_traces")
"""Columns of words."""

KEPT_INCIDENTS = 10_000
"""The newest that are kept; older ones that are closed are deleted."""

_metadata = sa.MetaData()

_incidents = sa.Table(
    "incidents",
    _metadata,
    sa.Column("incident_id", sa.String(32), primary_key=True),
    sa.Column("model", sa.String(256), nullable=False, index=True),
    sa.Column("version", sa.String(256), nullable=False),
    sa.Column("signal", sa.String(16), nullable=False),
    sa.Column("phase", sa.Integer),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("before", sa.Double, nullable=False),
    sa.Column("after", sa.Double, nullable=False),
    sa.Column("change_ns", sa.BigInteger, nullable=False),
    sa.Column("open_ns", sa.BigInteger, nullable=False),
    sa.Column("log_evalue", sa.Double, nullable=False),
    sa.Column("average_run_length", sa.Double, nullable=False),
    sa.Column("traces", sa.Text, nullable=False),
    sa.Column("close_ns", sa.BigInteger, index=True),
    sa.Column("innocent_traces", sa.Text, nullable=False, server_default=""),
    sa.Column("replica", sa.String(256), nullable=False, server_default=""),
    sa.Column("arm", sa.String(256), nullable=False, server_default="stable"),
    sa.Column("cause", sa.String(16), nullable=False, server_default=Cause.VERSION),
    sa.Column("severity", sa.String(16), nullable=False, server_default=Severity.PAGE),
    sa.Column("after_low", sa.Double),
    sa.Column("after_high", sa.Double),
)

_references = sa.Table(
    "references",
    _metadata,
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("version", sa.String(256), primary_key=True),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("saved_ns", sa.BigInteger, nullable=False),
)


class IncidentStore:
    """The monitor's database. What reads raises :class:`UnavailableError` when the database fails."""

    def __init__(self, url: str) -> None:
        """Opens the database and makes what is missing.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database can't be used.
        """
        self._engine = _engine(url)
        _metadata.create_all(self._engine)
        self._add_columns()

    def _add_columns(self) -> None:
        """Add what tables of an earlier release lack."""
        for table in _metadata.sorted_tables:
            there = {column["name"] for column in sa.inspect(self._engine).get_columns(table.name)}
            for column in table.columns:
                if column.name not in there:
                    statement = sa.schema.CreateColumn(column).compile(self._engine)
                    with self._engine.begin() as connection:
                        connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {statement}"))

    @property
    def engine(self) -> Engine:
        """For stores of other things in the same database."""
        return self._engine

    def close(self) -> None:
        self._engine.dispose()

    def save(self, incident: Incident) -> None:
        """Write an incident, new or changed, and delete the oldest ones that are closed."""
        row: dict[str, Any] = {field.name: getattr(incident, field.name) for field in fields(incident)}
        for name in _LISTS:
            row[name] = " ".join(row[name])
        oldest_kept = (
            sa.select(_incidents.c.incident_id)
            .order_by(_incidents.c.incident_id.desc())
            .offset(KEPT_INCIDENTS)
            .limit(1)
            .scalar_subquery()
        )
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_incidents).where(_incidents.c.incident_id == incident.incident_id))
            connection.execute(sa.insert(_incidents), row)
            connection.execute(
                sa.delete(_incidents).where(_incidents.c.close_ns.is_not(None), _incidents.c.incident_id <= oldest_kept)
            )

    def get(self, incident_id: str) -> Incident | None:
        query = sa.select(_incidents).where(_incidents.c.incident_id == incident_id)
        with _translated(), self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _incident(dict(row))

    def newest(self, *, model: str, is_open: bool, before: str, limit: int) -> list[Incident]:
        """Incidents of one model ("" for all), only open ones if asked, with ids below ``before`` ("" for all)."""
        query = sa.select(_incidents).order_by(_incidents.c.incident_id.desc()).limit(limit)
        if model:
            query = query.where(_incidents.c.model == model)
        if is_open:
            query = query.where(_incidents.c.close_ns.is_(None))
        if before:
            query = query.where(_incidents.c.incident_id < before)
        with _translated(), self._engine.connect() as connection:
            return [_incident(dict(row)) for row in connection.execute(query).mappings()]

    def save_references(self, references: Mapping[tuple[str, str], Mapping[str, Any]], *, now_ns: int) -> None:
        """Replace all references, by model and version, in one transaction."""
        rows = [
            {"model": model, "version": version, "data": json.dumps(dict(data)), "saved_ns": now_ns}
            for (model, version), data in references.items()
        ]
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_references))
            if rows:
                connection.execute(sa.insert(_references), rows)

    def references(self, *, since_ns: int) -> dict[tuple[str, str], dict[str, Any]]:
        """The references that were saved at or after an instant."""
        query = sa.select(_references).where(_references.c.saved_ns >= since_ns)
        with _translated(), self._engine.connect() as connection:
            return {(row.model, row.version): json.loads(row.data) for row in connection.execute(query)}


def driver_url(url: str) -> sa.URL:
    """A database's URL with the driver that is used."""
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def _engine(url: str) -> Engine:
    parsed = driver_url(url)
    is_postgresql = parsed.get_backend_name() == "postgresql"
    engine = sa.create_engine(parsed, connect_args={"connect_timeout": 5} if is_postgresql else {})
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA busy_timeout=5000")

    return engine


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        _log.warning("the database failed: %s", error)
        raise UnavailableError("the monitor's database can't be used now, try again") from error


def _incident(row: dict[Any, Any]) -> Incident:
    return Incident(
        **{
            **row,
            "signal": Signal(row["signal"]),
            "phase": None if row["phase"] is None else Phase(row["phase"]),
            "cause": Cause(row["cause"]),
            "severity": Severity(row["severity"]),
            **{name: tuple(row[name].split()) for name in _LISTS},
        }
    )
