"""Comparisons of versions in the monitor's database. Blocking."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from services.monitor.adapters import database
from services.monitor.adapters.database import translated

KEPT_COMPARISONS = 1_000
"""The newest that are kept; older ones that are final are deleted."""

_metadata = sa.MetaData()

_comparisons = sa.Table(
    "comparisons",
    _metadata,
    sa.Column("comparison_id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(256), nullable=False, index=True),
    sa.Column("begin_ns", sa.BigInteger, nullable=False, index=True),
    sa.Column("is_final", sa.Boolean, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("report", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Record:
    """A comparison as it is stored: what was asked and what is known as JSON (empty once it is final), and the report
    as a serialised ``penstock.monitor.v1.Comparison``. ``fingerprint`` tells questions from each other.
    """

    comparison_id: str
    model: str
    begin_ns: int
    is_final: bool
    fingerprint: str
    question: str
    state: str
    report: bytes


class ComparisonStore:
    """All methods raise :class:`UnavailableError` when the database fails."""

    def __init__(self, engine: Engine) -> None:
        """Makes what is missing.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database can't be used.
        """
        self._engine = engine
        database.make(engine, _metadata)

    def save(self, record: Record) -> None:
        """Write a comparison, new or changed, and delete the oldest ones that are final.

        Raises:
            InvalidArgumentError: the database will never take it.
        """
        by, is_final = _comparisons.c.begin_ns, _comparisons.c.is_final
        with translated(), self._engine.begin() as connection:
            database.replace(connection, _comparisons, asdict(record))
            database.thin(connection, _comparisons, by=by, kept=KEPT_COMPARISONS, is_done=is_final)

    def get(self, comparison_id: str) -> Record | None:
        query = sa.select(_comparisons).where(_comparisons.c.comparison_id == comparison_id)
        with translated(), self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Record(**row)

    def under_way(self) -> list[Record]:
        """Those that aren't final, oldest first."""
        query = sa.select(_comparisons).where(sa.not_(_comparisons.c.is_final)).order_by(_comparisons.c.begin_ns)
        with translated(), self._engine.connect() as connection:
            return [Record(**row) for row in connection.execute(query).mappings()]

    def reports(self, *, model: str, before: tuple[int, str] | None, limit: int) -> list[tuple[int, str, bytes]]:
        """Begin, id and report of one model's comparisons ("" for all), newest first, from after ``before`` on."""
        at = sa.tuple_(_comparisons.c.begin_ns, _comparisons.c.comparison_id)
        query = sa.select(_comparisons.c.begin_ns, _comparisons.c.comparison_id, _comparisons.c.report)
        query = query.order_by(_comparisons.c.begin_ns.desc(), _comparisons.c.comparison_id.desc()).limit(limit)
        if model:
            query = query.where(_comparisons.c.model == model)
        if before is not None:
            query = query.where(at < sa.tuple_(*map(sa.literal, before)))
        with translated(), self._engine.connect() as connection:
            return [(row.begin_ns, row.comparison_id, row.report) for row in connection.execute(query)]
