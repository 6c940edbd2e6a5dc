"""A retraining that several do something about at once: what each does is kept, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from services.common.errors import FailedPreconditionError
from services.monitor.adapters.action_store import ActionStore
from services.monitor.adapters.registry_calls import RegistryCalls
from services.monitor.domain.alerts import Links
from services.monitor.domain.retraining import Retraining, RetrainingState
from services.monitor.retraining_steps import RetrainingSteps
from services.monitor.retrainings import Retrainings
from tests.integration.monitor.test_action_store import RETRAINING
from tests.support.monitor_database import action_store, url_of
from tests.support.waiting import until

ASKED = replace(RETRAINING, runner="webhook")
NOBODY = cast("RegistryCalls", None)


class SlowSteps:
    """The next step of a retraining is done when the test says so."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def take(self, _registry: Any, now: Retraining) -> Retraining:
        self.begun.set()
        await self.go_on.wait()
        return replace(now, output_tail="alive")

    async def stop(self, _now: Retraining) -> None:
        self.begun.set()
        await self.go_on.wait()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ActionStore]:
    with action_store(url_of(tmp_path)) as found:
        found.save_retraining(ASKED)
        yield found


@pytest.fixture
def steps() -> SlowSteps:
    return SlowSteps()


@pytest.fixture
async def retrainings(store: ActionStore, steps: SlowSteps) -> Retrainings:
    found = Retrainings(store, cast("RetrainingSteps", steps), links=Links(), clock=lambda: 2)
    await found.adopt()
    return found


async def test_a_report_during_a_step_is_not_lost(
    store: ActionStore, retrainings: Retrainings, steps: SlowSteps
) -> None:
    looking = asyncio.create_task(retrainings.look(NOBODY))
    await steps.begun.wait()
    version = "models/digits/versions/2"
    reporting = asyncio.create_task(_report(retrainings, version=version))
    await asyncio.sleep(0)
    steps.go_on.set()
    await asyncio.gather(looking, reporting)

    (kept,) = store.under_way()
    assert (kept.state, version in kept.result, kept.output_tail) == (RetrainingState.IMPORTING, True, "alive")
    assert retrainings.under_way == [kept]


@pytest.mark.parametrize(
    "ask",
    [lambda one: _report(one, failed=True), lambda one: one.cancel("r1", "no")],
    ids=["report", "cancel"],
)
async def test_what_a_caller_asked_for_is_done_although_he_goes_away(
    store: ActionStore, retrainings: Retrainings, steps: SlowSteps, ask: Callable[[Retrainings], Any]
) -> None:
    looking = asyncio.create_task(retrainings.look(NOBODY))
    await steps.begun.wait()
    asking = asyncio.create_task(ask(retrainings))
    await asyncio.sleep(0)
    asking.cancel()
    steps.go_on.set()
    await looking
    await until(lambda: not retrainings.under_way)

    assert (store.under_way(), retrainings.results[RetrainingState.FAILED]) == ([], 1)
    with pytest.raises(FailedPreconditionError, match="is failed"):
        await retrainings.cancel("r1", "again")


async def _report(retrainings: Retrainings, *, failed: bool = False, version: str = "") -> Retraining:
    return await retrainings.report("r1", token=ASKED.token, detail="", failed=failed, version=version)
