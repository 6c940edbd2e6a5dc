"""The store of actions and retrainings on each database that it is made for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.monitor.adapters.action_store import ActionStore
from services.monitor.domain.actions import Action, Outcome
from services.monitor.domain.policies import ActionKind
from services.monitor.domain.retraining import Retraining, RetrainingState
from tests.support.monitor_database import action_store, url_of
from tests.support.postgresql import PostgresqlUnavailableError, running_postgresql

ACTION = Action(
    action_id="a1", kind=ActionKind.HOLD, outcome=Outcome.PENDING, policy="p", incident_id="i1", model="digits",
    version="2", target="t", reason="it fails → now", detail="", create_ns=2**62,
)  # fmt: skip
RETRAINING = Retraining(
    retraining_id="r1", model="digits", state=RetrainingState.RUNNING, detail="", policy="p", incident_id="i1",
    runner="command", request="{}", token="t", create_ns=1, deadline_ns=2**62,
)  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ActionStore]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = url_of(tmp_path)
        else:
            try:
                server = stack.enter_context(running_postgresql())
            except PostgresqlUnavailableError as error:
                pytest.skip(str(error))
            url = stack.enter_context(server.database())
        yield stack.enter_context(action_store(url))


def test_actions_are_kept_changed_and_found_newest_first(store: ActionStore) -> None:
    done = replace(ACTION, outcome=Outcome.DONE, end_ns=2**62 + 1)
    others = [replace(ACTION, action_id="a2", incident_id="i2"), replace(ACTION, action_id="a3", model="other")]
    for action in (ACTION, *others, done):
        store.save_action(action)

    assert store.action("a1") == done
    assert store.action("a9") is None
    assert store.all_actions() == [done, *others]
    assert store.newest_actions(model="", incident_id="", before="", limit=2) == others[::-1]
    assert store.newest_actions(model="", incident_id="", before="a2", limit=2) == [done]
    assert store.newest_actions(model="digits", incident_id="i1", before="", limit=9) == [done]


def test_retrainings_are_kept_until_they_are_over_and_after(store: ActionStore) -> None:
    over = replace(RETRAINING, retraining_id="r0", state=RetrainingState.FAILED, end_ns=5)
    store.save_retraining(over)
    store.save_retraining(RETRAINING)

    assert store.under_way() == [RETRAINING]
    assert store.retraining("r0") == over
    assert store.newest_retrainings(model="digits", before="", limit=9) == [RETRAINING, over]
    assert store.newest_retrainings(model="other", before="", limit=9) == []


def test_the_oldest_that_are_over_are_deleted(store: ActionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.monitor.adapters.action_store.KEPT_ACTIONS", 3)
    monkeypatch.setattr("services.monitor.adapters.action_store.KEPT_RETRAININGS", 3)
    for number in range(8):
        outcome = Outcome.PENDING if number == 1 else Outcome.DRY_RUN
        store.save_action(replace(ACTION, action_id=f"a{number}", outcome=outcome))
        store.save_retraining(replace(RETRAINING, retraining_id=f"r{number}", end_ns=0 if number == 1 else 1))

    assert [one.action_id for one in store.all_actions()] == ["a1", "a5", "a6", "a7"]
    found = store.newest_retrainings(model="", before="", limit=9)
    assert [one.retraining_id for one in found] == ["r7", "r6", "r5", "r1"]
