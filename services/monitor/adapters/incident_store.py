"""Incidents and what was learnt, in the monitor's database. Blocking."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from services.monitor.adapters import database
from services.monitor.adapters.database import translated
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Cause, Phase, Severity, Signal

_LISTS = ("traces", "innocent_traces")
"""Columns of words."""

KEPT_INCIDENTS = 10_000
"""The newest that are kept; older ones that are closed are deleted."""
_MAX_NAME_LENGTH = 256
"""Of what references are stored by."""

Version = tuple[str, str]
"""Model and version, or other names in their place."""

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
    sa.Column("model", sa.String(_MAX_NAME_LENGTH), primary_key=True),
    sa.Column("version", sa.String(_MAX_NAME_LENGTH), primary_key=True),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("saved_ns", sa.BigInteger, nullable=False),
)


class IncidentStore:
    """Incidents, and what was learnt. All methods raise :class:`UnavailableError` when the database fails, and those
    that write :class:`InvalidArgumentError` for what it will never take.
    """

    def __init__(self, engine: Engine) -> None:
        """Makes what is missing.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database can't be used.
        """
        self._engine = engine
        database.make(engine, _metadata)

    def save(self, incident: Incident) -> None:
        """Write an incident, new or changed, and delete the oldest ones that are closed."""
        row: dict[str, Any] = {field.name: getattr(incident, field.name) for field in fields(incident)}
        for name in _LISTS:
            row[name] = " ".join(row[name])
        by, is_closed = _incidents.c.incident_id, _incidents.c.close_ns.is_not(None)
        with translated(), self._engine.begin() as connection:
            database.replace(connection, _incidents, row)
            database.thin(connection, _incidents, by=by, kept=KEPT_INCIDENTS, is_done=is_closed)

    def get(self, incident_id: str) -> Incident | None:
        query = sa.select(_incidents).where(_incidents.c.incident_id == incident_id)
        with translated(), self._engine.connect() as connection:
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
        return self._found(query)

    def ended(self, *, since_ns: int, limit: int) -> list[Incident]:
        """Incidents that were closed at or after an instant (Unix ns), the last one first."""
        is_late = _incidents.c.close_ns >= since_ns
        return self._found(sa.select(_incidents).where(is_late).order_by(_incidents.c.close_ns.desc()).limit(limit))

    def _found(self, query: sa.Select[Any]) -> list[Incident]:
        with translated(), self._engine.connect() as connection:
            return [_incident(dict(row)) for row in connection.execute(query).mappings()]

    def save_references(
        self, references: Mapping[Version, Mapping[str, Any]], *, now_ns: int, keeps_others: bool = False
    ) -> None:
        """Write references by model and version in one transaction, in place of all, or of those of these versions.

        Those with names that are longer than a column are left out.
        """
        rows = [
            {"model": model, "version": version, "data": json.dumps(dict(data)), "saved_ns": now_ns}
            for (model, version), data in references.items()
            if max(len(model), len(version)) <= _MAX_NAME_LENGTH
        ]
        with translated(), self._engine.begin() as connection:
            if keeps_others:
                for row in rows:
                    database.replace(connection, _references, row)
                return
            connection.execute(sa.delete(_references))
            if rows:
                connection.execute(sa.insert(_references), rows)

    def references(self, *, since_ns: int) -> dict[Version, dict[str, Any]]:
        """The references that were saved at or after an instant."""
        query = sa.select(_references).where(_references.c.saved_ns >= since_ns)
        with translated(), self._engine.connect() as connection:
            return {(row.model, row.version): json.loads(row.data) for row in connection.execute(query)}


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
