"""Rollouts as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, update

from services.registry.adapters.tables import rollouts
from services.registry.adapters.transaction import Transaction
from services.registry.domain.paging import Key
from services.registry.domain.rollouts import (
    ACTIVE,
    Decision,
    GuardrailSummary,
    Rollout,
    RolloutEvent,
    RolloutPlan,
    RolloutState,
    RolloutStep,
    RolloutVerdict,
    Strategy,
)

_IN_COLUMNS = ("model", "number", "state", "verdict", "events", "etag")


def find(tx: Transaction, model: str, number: int) -> Rollout | None:
    return _first(tx, _is_key(model, number))


def find_active(tx: Transaction, model: str) -> Rollout | None:
    """The one that is under way."""
    return _first(tx, rollouts.c.model == model, rollouts.c.state.in_(map(int, ACTIVE)))


def find_in_charge(tx: Transaction, model: str) -> Rollout | None:
    """The one that is under way, or keeps a baseline warm: there is at most one."""
    found = _select(tx, rollouts.c.model == model, rollouts.c.is_open)
    return next((one for one in found if one.is_active or one.is_warm), None)


def list_open(tx: Transaction) -> list[Rollout]:
    """Those that something is left to be done about."""
    return _select(tx, rollouts.c.is_open)


def page(tx: Transaction, *, model: str | None, is_active: bool, after: Key | None, limit: int) -> list[Rollout]:
    """By deployment, the newest first within one."""
    where = [] if model is None else [rollouts.c.model == model]
    if is_active:
        where.append(rollouts.c.state.in_(map(int, ACTIVE)))
    if after is not None:
        of_model, number = after
        is_later = and_(rollouts.c.model == of_model, rollouts.c.rollout < number)
        where.append(or_(rollouts.c.model > of_model, is_later))
    return _select(tx, *where, limit=limit)


def next_number(tx: Transaction, model: str) -> int:
    """Numbers are never given twice as long as the model is there."""
    last = tx.connection.scalar(select(func.max(rollouts.c.rollout)).where(rollouts.c.model == model))
    return (last or 0) + 1


def put(tx: Transaction, rollout: Rollout) -> None:
    row = _row(rollout)
    where = _is_key(rollout.model, rollout.number)
    if not tx.connection.execute(update(rollouts).where(where).values(row)).rowcount:
        tx.connection.execute(insert(rollouts).values(row))


def forget(tx: Transaction, model: str) -> None:
    """A model is deleted: its next versions have the same names as these had."""
    tx.connection.execute(delete(rollouts).where(rollouts.c.model == model))


def _is_key(model: str, number: int) -> ColumnElement[bool]:
    return and_(rollouts.c.model == model, rollouts.c.rollout == number)


def _first(tx: Transaction, *where: ColumnElement[bool]) -> Rollout | None:
    return next(iter(_select(tx, *where, limit=1)), None)


def _select(tx: Transaction, *where: ColumnElement[bool], limit: int | None = None) -> list[Rollout]:
    statement = select(rollouts).where(*where).order_by(rollouts.c.model, rollouts.c.rollout.desc()).limit(limit)
    return [_rollout(row) for row in tx.connection.execute(statement)]


def _row(rollout: Rollout) -> dict[str, Any]:
    fields = asdict(rollout)
    return {
        "model": rollout.model,
        "rollout": rollout.number,
        "state": int(rollout.state),
        "is_open": rollout.is_open,
        "verdict": fields["verdict"],
        "events": fields["events"],
        "etag": rollout.etag,
        "body": {name: value for name, value in fields.items() if name not in _IN_COLUMNS},
    }


def _rollout(row: Row[Any]) -> Rollout:
    body = dict(row.body)
    return Rollout(
        **{
            **body,
            "model": row.model,
            "number": row.rollout,
            "state": RolloutState(row.state),
            "plan": _plan(body["plan"]),
            "verdict": None if row.verdict is None else _verdict(row.verdict),
            "events": tuple(RolloutEvent(**{**one, "state": RolloutState(one["state"])}) for one in row.events),
            "etag": row.etag,
            "versions_before": tuple(body["versions_before"]),
            "unstopped": tuple(body["unstopped"]),
        }
    )


def _plan(data: Mapping[str, Any]) -> RolloutPlan:
    return RolloutPlan(
        **{
            **data,
            "strategy": Strategy(data["strategy"]),
            "steps": tuple(RolloutStep(**one) for one in data["steps"]),
            "guardrails": tuple(data["guardrails"]),
        }
    )


def _verdict(data: Mapping[str, Any]) -> RolloutVerdict:
    guardrails = tuple(GuardrailSummary(**one) for one in data["guardrails"])
    return RolloutVerdict(**{**data, "decision": Decision(data["decision"]), "guardrails": guardrails})
