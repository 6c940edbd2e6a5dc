"""What is done next for a retraining: it is started, followed, imported, and rolled out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from services.common.errors import PenstockError, UnavailableError
from services.monitor.adapters.registry_calls import RegistryCalls
from services.monitor.adapters.runner import Runner
from services.monitor.domain.blocks import NS
from services.monitor.domain.policies import Policy
from services.monitor.domain.recipes import Recipe
from services.monitor.domain.retraining import (
    Retraining,
    RetrainingState,
    ended,
    imported,
    is_over_time,
    ran,
    tail,
    why_to_end,
)
from services.monitor.introductions import Introductions

_log = logging.getLogger(__name__)

WEBHOOK = "webhook"
_START_NS = 300 * NS
"""How long it is tried to start one."""


class RetrainingSteps:
    """Remembers nothing: whatever is done is such that it may be done again. ``clock`` gives Unix nanoseconds."""

    def __init__(
        self,
        runners: Mapping[str, Runner],
        introductions: Introductions,
        *,
        policies: Iterable[Policy],
        clock: Callable[[], int],
    ) -> None:
        self._runners = runners
        self._introductions = introductions
        self._recipes = {policy.name: policy.recipe for policy in policies if policy.recipe is not None}
        self._clock = clock

    async def take(self, registry: RegistryCalls, now: Retraining) -> Retraining:
        """The retraining after its next step, or as it is where that has to wait.

        Raises:
            UnavailableError, TimeoutError: the same step is to be tried again.
        """
        try:
            return await self._step(registry, now)
        except UnavailableError:
            raise
        except PenstockError as error:
            return self._failed(now, error.message)
        except (LookupError, TypeError, ValueError) as error:
            _log.exception("%s: unexpected", now.name)
            return self._failed(now, f"what came of it can't be understood: {error}")

    async def _step(self, registry: RegistryCalls, now: Retraining) -> Retraining:
        recipe = self._recipes.get(now.policy)
        if recipe is None:
            await self.stop(now)
            return self._failed(now, f"there is no policy {now.policy} any more that says how")
        if now.state is RetrainingState.STARTING:
            return await self._start(now, recipe)
        if now.state is RetrainingState.RUNNING:
            return await self._follow(registry, now, recipe)
        if is_over_time(now, now_ns=self._clock()):
            return self._failed(now, f"its time was over: {now.detail}")
        if now.state is RetrainingState.IMPORTING:
            return await self._import(registry, now, recipe)
        return await self._roll_out(registry, now, recipe)

    async def _start(self, now: Retraining, recipe: Recipe) -> Retraining:
        try:
            handle = await self._runners[now.runner].start(now, recipe)
        except UnavailableError as error:
            if self._clock() - now.create_ns < _START_NS:
                raise
            return self._failed(now, f"it can't be started: {error.message}")
        return replace(now, state=RetrainingState.RUNNING, handle=handle, detail=f"{recipe.runner} runs")

    async def _follow(self, registry: RegistryCalls, now: Retraining, recipe: Recipe) -> Retraining:
        progress = await self._runners[now.runner].look(now)
        now = replace(
            now,
            output_tail=tail(progress.output_tail) or now.output_tail,
            heartbeat_ns=max(now.heartbeat_ns, progress.heartbeat_ns),
        )
        if progress.is_over and progress.failure:
            return self._failed(now, progress.failure)
        result = progress.result.strip()
        if not result and (progress.is_over or now.runner == WEBHOOK):
            result = await self._introductions.brought_by_itself(registry, now)
        if result:
            return ran(now, result, now_ns=self._clock())
        if progress.is_over:
            return self._failed(now, "it ended well, and brought nothing in")
        why = why_to_end(now, silence_s=recipe.silence_s, now_ns=self._clock())
        if why:
            await self.stop(now)
            return self._failed(now, why)
        return now

    async def _import(self, registry: RegistryCalls, now: Retraining, recipe: Recipe) -> Retraining:
        version = await self._introductions.import_(registry, now, recipe)
        if version is None:
            return now
        return imported(now, version, is_rolled_out=recipe.plan is not None, now_ns=self._clock())

    async def _roll_out(self, registry: RegistryCalls, now: Retraining, recipe: Recipe) -> Retraining:
        rollout = await self._introductions.roll_out(registry, now, recipe)
        if rollout is None:
            return replace(now, detail="it waits for another rollout to end")
        now = replace(now, rollout=rollout.name, detail=rollout.reason)
        if rollout.is_promoted:
            why = f"{now.model_version} was promoted: {rollout.reason}"
            return ended(now, RetrainingState.SUCCEEDED, why, now_ns=self._clock())
        return self._failed(now, f"{now.model_version} was not promoted: {rollout.reason}") if rollout.is_over else now

    def _failed(self, now: Retraining, why: str) -> Retraining:
        return ended(now, RetrainingState.FAILED, why, now_ns=self._clock())

    async def stop(self, now: Retraining) -> None:
        """End what was started for it; one that can't be is left to its own deadline."""
        if now.state is RetrainingState.RUNNING:
            try:
                await self._runners[now.runner].stop(now)
            except PenstockError as error:
                _log.warning("%s can't be ended: %s", now.name, error)
        elif now.state is RetrainingState.IMPORTING:
            self._introductions.stop(now)
