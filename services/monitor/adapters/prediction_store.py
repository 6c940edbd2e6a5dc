"""Answers that wait for labels, and labels that wait for answers, in the monitor's database. Blocking."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from services.monitor.adapters import database
from services.monitor.adapters.database import translated
from services.monitor.domain.quality.labels import Label
from services.monitor.domain.quality.predictions import Prediction, State

_metadata = sa.MetaData()

_predictions = sa.Table(
    "predictions",
    _metadata,
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.String(256), primary_key=True),
    sa.Column("arm", sa.String(256), nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False, index=True),
    sa.Column("predicted", sa.Integer, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("value", sa.Double),
    sa.Column("probabilities", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

_labels = sa.Table(
    "waiting_labels",
    _metadata,
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("until_ns", sa.BigInteger, nullable=False, index=True),
    sa.Column("label", sa.Text, nullable=False),
)

Item = TypeVar("Item")
_CHUNK = 500
_MOST_DELETED = 50_000


class PredictionStore:
    """All methods raise :class:`UnavailableError` when the database fails; each is one transaction."""

    def __init__(self, engine: Engine) -> None:
        """Makes what is missing.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database can't be used.
        """
        self._engine = engine
        database.make(engine, _metadata)

    def count(self) -> int:
        """How many predictions there are."""
        with translated(), self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(_predictions)).scalar_one())

    def waiting(self) -> list[Label]:
        """Labels that wait for their predictions."""
        with translated(), self._engine.connect() as connection:
            return [_label(row.label) for row in connection.execute(sa.select(_labels.c.label))]

    def find(self, model: str, keys: Iterable[int]) -> list[Prediction]:
        """What was answered by a model to requests with these keys, by all of its versions."""
        with translated(), self._engine.connect() as connection:
            return list(_found(connection, model, keys))

    def add(self, predictions: Sequence[Prediction]) -> tuple[int, int]:
        """Write predictions. One that is there already stays; two that differ are ambiguous.

        Returns how many are new, and how many became ambiguous.
        """
        new, ambiguous = dict[tuple[str, int, str], Prediction](), set[tuple[str, int, str]]()
        with translated(), self._engine.begin() as connection:
            known = {
                _key(one): one
                for model, some in _by_model(predictions).items()
                for one in _found(connection, model, (prediction.key for prediction in some))
            }
            for one in predictions:
                key = _key(one)
                before = known.get(key) or new.get(key)
                if before is None:
                    new[key] = one
                elif not before.is_like(one):
                    ambiguous.add(key)
            if new:
                connection.execute(
                    sa.insert(_predictions), [{**one._asdict(), "state": int(one.state)} for one in new.values()]
                )
            for model, number, version in ambiguous:
                is_it = (_predictions.c.model == model) & (_predictions.c.key == number)
                change = sa.update(_predictions).where(is_it, _predictions.c.version == version)
                connection.execute(
                    change.where(_predictions.c.state == int(State.OPEN)).values(state=int(State.AMBIGUOUS))
                )
        return len(new), len(ambiguous)

    def join(self, joined: Sequence[Prediction], *, waiting: Sequence[tuple[Label, int]], met: Sequence[Label]) -> None:
        """Note what became of labels: the predictions that have theirs now, labels that wait, each until when (Unix
        ns), and labels that wait no more.
        """
        with translated(), self._engine.begin() as connection:
            for model, some in _by_model(joined).items():
                for keys in _chunks([one.key for one in some]):
                    is_it = (_predictions.c.model == model) & _predictions.c.key.in_(keys)
                    change = sa.update(_predictions).where(is_it, _predictions.c.state == int(State.OPEN))
                    connection.execute(change.values(state=int(State.LABELLED)))
            for label in met:
                connection.execute(sa.delete(_labels).where(_labels.c.model == label.model, _labels.c.key == label.key))
            if waiting:
                rows = [
                    {"model": one.model, "key": one.key, "until_ns": until, "label": json.dumps(asdict(one))}
                    for one, until in waiting
                ]
                connection.execute(sa.insert(_labels), rows)

    def expire(self, *, now_ns: int, retention_ns: Callable[[str], int], most: int) -> tuple[int, int, int]:
        """Delete predictions that have waited for long enough, the oldest ones beyond ``most``, and labels that have.

        Returns how many of each, the latter ones only those without a label; at most some ten thousand at once.
        """
        with translated(), self._engine.begin() as connection:
            models = connection.execute(sa.select(_predictions.c.model).distinct()).scalars().all()
            expired = evicted = 0
            for model in models:
                is_old = (_predictions.c.model == model) & (_predictions.c.time_ns < now_ns - retention_ns(model))
                expired += _delete_predictions(connection, is_old)
            total = int(connection.execute(sa.select(sa.func.count()).select_from(_predictions)).scalar_one())
            if total > most:
                at = min(total - most, _MOST_DELETED)
                oldest = sa.select(_predictions.c.time_ns).order_by(_predictions.c.time_ns).offset(at - 1).limit(1)
                bound = connection.execute(oldest).scalar_one()
                evicted = _delete_predictions(connection, _predictions.c.time_ns <= bound)
            gone = connection.execute(sa.delete(_labels).where(_labels.c.until_ns < now_ns)).rowcount
        return expired, evicted, gone


def _delete_predictions(connection: Connection, which: sa.ColumnElement[bool]) -> int:
    """Returns how many of those deleted had no label."""
    is_open = which & (_predictions.c.state != int(State.LABELLED))
    unmet = connection.execute(sa.select(sa.func.count()).select_from(_predictions).where(is_open)).scalar_one()
    connection.execute(sa.delete(_predictions).where(which))
    return int(unmet)


def _found(connection: Connection, model: str, keys: Iterable[int]) -> Iterator[Prediction]:
    for some in _chunks(list(keys)):
        query = sa.select(_predictions).where(_predictions.c.model == model, _predictions.c.key.in_(some))
        for row in connection.execute(query).mappings():
            yield Prediction(**{**row, "state": State(row["state"])})


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _by_model(predictions: Iterable[Prediction]) -> dict[str, list[Prediction]]:
    found: dict[str, list[Prediction]] = {}
    for one in predictions:
        found.setdefault(one.model, []).append(one)
    return found


def _key(one: Prediction) -> tuple[str, int, str]:
    return one.model, one.key, one.version


def _label(text: str) -> Label:
    fields: dict[str, Any] = json.loads(text)
    return Label(**{**fields, "slices": tuple((key, value) for key, value in fields["slices"])})
