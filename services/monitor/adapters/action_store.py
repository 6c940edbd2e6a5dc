"""Actions and retrainings in the monitor's database. Blocking."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from services.monitor.adapters import database
from services.monitor.adapters.database import translated
from services.monitor.domain.actions import Action, Outcome
from services.monitor.domain.policies import ActionKind
from services.monitor.domain.retraining import Retraining, RetrainingState

KEPT_ACTIONS, KEPT_RETRAININGS = 10_000, 1_000
"""The newest that are kept; older ones that are over are deleted."""

_metadata = sa.MetaData()

_actions = sa.Table(
    "actions",
    _metadata,
    sa.Column("action_id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("policy", sa.String(64), nullable=False),
    sa.Column("incident_id", sa.String(32), nullable=False, index=True),
    sa.Column("model", sa.String(256), nullable=False, index=True),
    sa.Column("version", sa.String(256), nullable=False),
    sa.Column("target", sa.String(512), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("create_ns", sa.BigInteger, nullable=False),
    sa.Column("end_ns", sa.BigInteger),
)

_retrainings = sa.Table(
    "retrainings",
    _metadata,
    sa.Column("retraining_id", sa.String(32), primary_key=True),
    sa.Column("model", sa.String(256), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("policy", sa.String(64), nullable=False),
    sa.Column("incident_id", sa.String(32), nullable=False),
    sa.Column("runner", sa.String(16), nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("create_ns", sa.BigInteger, nullable=False),
    sa.Column("deadline_ns", sa.BigInteger, nullable=False),
    sa.Column("heartbeat_ns", sa.BigInteger, nullable=False),
    sa.Column("end_ns", sa.BigInteger, nullable=False),
    sa.Column("handle", sa.Text, nullable=False),
    sa.Column("output_tail", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("model_version", sa.String(256), nullable=False),
    sa.Column("rollout", sa.String(256), nullable=False),
)


class ActionStore:
    """All methods raise :class:`UnavailableError` when the database fails, and those that write
    :class:`InvalidArgumentError` for what it will never take.
    """

    def __init__(self, engine: Engine) -> None:
        """Makes what is missing.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database can't be used.
        """
        self._engine = engine
        database.make(engine, _metadata)

    def save_action(self, action: Action) -> None:
        """Write an action, new or changed, and delete the oldest ones that are over."""
        is_over = _actions.c.outcome != Outcome.PENDING
        with translated(), self._engine.begin() as connection:
            database.replace(connection, _actions, asdict(action))
            database.thin(connection, _actions, by=_actions.c.action_id, kept=KEPT_ACTIONS, is_done=is_over)

    def save_retraining(self, retraining: Retraining) -> None:
        """The same of a retraining."""
        by, is_over = _retrainings.c.retraining_id, _retrainings.c.end_ns > 0
        with translated(), self._engine.begin() as connection:
            database.replace(connection, _retrainings, asdict(retraining))
            database.thin(connection, _retrainings, by=by, kept=KEPT_RETRAININGS, is_done=is_over)

    def action(self, action_id: str) -> Action | None:
        return next(iter(self._found_actions(sa.select(_actions).where(_actions.c.action_id == action_id))), None)

    def retraining(self, retraining_id: str) -> Retraining | None:
        query = sa.select(_retrainings).where(_retrainings.c.retraining_id == retraining_id)
        return next(iter(self._found_retrainings(query)), None)

    def all_actions(self) -> list[Action]:
        """Those that are kept, oldest first."""
        return self._found_actions(sa.select(_actions).order_by(_actions.c.action_id))

    def under_way(self) -> list[Retraining]:
        """Retrainings that aren't over, oldest first."""
        query = sa.select(_retrainings).where(_retrainings.c.end_ns == 0).order_by(_retrainings.c.retraining_id)
        return self._found_retrainings(query)

    def newest_actions(self, *, model: str, incident_id: str, before: str, limit: int) -> list[Action]:
        """Those of one model and of one incident ("" for all), with ids below ``before`` ("" for all), newest first."""
        query = sa.select(_actions).order_by(_actions.c.action_id.desc()).limit(limit)
        if incident_id:
            query = query.where(_actions.c.incident_id == incident_id)
        return self._found_actions(_narrowed(query, _actions.c.model, model, _actions.c.action_id, before))

    def newest_retrainings(self, *, model: str, before: str, limit: int) -> list[Retraining]:
        """The same of retrainings."""
        by = _retrainings.c.retraining_id
        query = sa.select(_retrainings).order_by(by.desc()).limit(limit)
        return self._found_retrainings(_narrowed(query, _retrainings.c.model, model, by, before))

    def _found_actions(self, query: sa.Select[Any]) -> list[Action]:
        return [
            Action(**{**row, "kind": ActionKind(row["kind"]), "outcome": Outcome(row["outcome"])})
            for row in self._rows(query)
        ]

    def _found_retrainings(self, query: sa.Select[Any]) -> list[Retraining]:
        return [Retraining(**{**row, "state": RetrainingState(row["state"])}) for row in self._rows(query)]

    def _rows(self, query: sa.Select[Any]) -> Iterable[dict[str, Any]]:
        with translated(), self._engine.connect() as connection:
            return [{str(name): value for name, value in row.items()} for row in connection.execute(query).mappings()]


def _narrowed(
    query: sa.Select[Any], of_model: sa.Column[Any], model: str, by: sa.Column[Any], before: str
) -> sa.Select[Any]:
    if model:
        query = query.where(of_model == model)
    return query.where(by < before) if before else query
