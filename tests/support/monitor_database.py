"""The monitor's stores, opened by the URL of their database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import Engine

from services.monitor.adapters import database
from services.monitor.adapters.action_store import ActionStore
from services.monitor.adapters.comparison_store import ComparisonStore
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.adapters.prediction_store import PredictionStore


def url_of(home: Path) -> str:
    """Of a monitor that has no other."""
    return f"sqlite:///{home}/monitor.db"


@contextlib.contextmanager
def incident_store(url: str) -> Iterator[IncidentStore]:
    with _engine(url) as engine:
        yield IncidentStore(engine)


@contextlib.contextmanager
def comparison_store(url: str) -> Iterator[ComparisonStore]:
    with _engine(url) as engine:
        yield ComparisonStore(engine)


@contextlib.contextmanager
def prediction_store(url: str) -> Iterator[PredictionStore]:
    with _engine(url) as engine:
        yield PredictionStore(engine)


@contextlib.contextmanager
def action_store(url: str) -> Iterator[ActionStore]:
    with _engine(url) as engine:
        yield ActionStore(engine)


@contextlib.contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = database.engine_of(url)
    try:
        yield engine
    finally:
        engine.dispose()
