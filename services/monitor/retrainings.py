"""The retrainings under way: started, followed, imported and rolled out, step by step, and stored after each."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from json import dumps

from services.common.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PenstockError,
    ResourceExhaustedError,
    UnavailableError,
)
from services.monitor.adapters.action_store import ActionStore
from services.monitor.adapters.registry_calls import RegistryCalls
from services.monitor.adapters.runner import Runner
from services.monitor.domain.alerts import Links
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.policies import Policy
from services.monitor.domain.recipes import Recipe
from services.monitor.domain.retraining import (
    MAX_DETAIL,
    Retraining,
    RetrainingState,
    ended,
    imported,
    is_over_time,
    ran,
    request_of,
    tail,
    why_to_end,
)
from services.monitor.introductions import Introductions

_log = logging.getLogger(__name__)

MAX_UNDER_WAY = 8
LOOK_PERIOD_S = 1.0
_START_NS = 300 * NS
"""How long it is tried to start one."""
_WEBHOOK = "webhook"


class Retrainings:
    """Retrainings by id. Single-threaded; ``clock`` gives Unix nanoseconds.

    Whatever is done is such that it may be done again: after a kill each goes on with the step that was stored last.
    """

    def __init__(
        self,
        store: ActionStore,
        runners: Mapping[str, Runner],
        introductions: Introductions,
        *,
        policies: Iterable[Policy],
        links: Links,
        clock: Callable[[], int],
    ) -> None:
        self.results: Counter[RetrainingState] = Counter()
        """How those ended that did since the monitor began."""
        self._store = store
        self._runners = runners
        self._introductions = introductions
        self._recipes = {policy.name: policy.recipe for policy in policies if policy.recipe is not None}
        self._links = links
        self._clock = clock
        self._live: dict[str, Retraining] = {}

    async def adopt(self) -> None:
        """Go on with what was under way when the monitor stopped.

        Raises:
            UnavailableError: the database can't be used.
        """
        self._live = {one.retraining_id: one for one in await asyncio.to_thread(self._store.under_way)}

    @property
    def under_way(self) -> list[Retraining]:
        """Safe to use from another thread."""
        return list(self._live.values())

    def is_under_way(self, model: str) -> bool:
        return any(one.model == model for one in self._live.values())

    async def begin(
        self, registry: RegistryCalls, retraining_id: str, policy: Policy, incident: Incident
    ) -> Retraining:
        """Begin a retraining, or tell how the one with this id stands.

        Raises:
            FailedPreconditionError: the policy doesn't say how.
            ResourceExhaustedError: too many are under way.
            UnavailableError: it can't be stored, or the registry is away.
        """
        known = await self._find(retraining_id)
        if known is not None:
            return known
        recipe = policy.recipe
        if recipe is None:
            raise FailedPreconditionError(f"policy {policy.name} doesn't say how {incident.model} is retrained")
        if len(self._live) >= MAX_UNDER_WAY:
            raise ResourceExhaustedError(f"{len(self._live)} retrainings are under way, expected fewer")
        try:
            versions = list((await registry.deployment(incident.model)).versions)
        except NotFoundError:
            versions = []
        now_ns = self._clock()
        request = request_of(
            retraining_id,
            incident,
            recipe,
            policy=policy.name,
            versions=versions,
            trace_links=[self._links.to_trace(trace) or f"traces/{trace}" for trace in incident.traces],
            now_ns=now_ns,
        )
        retraining = Retraining(
            retraining_id=retraining_id,
            model=incident.model,
            state=RetrainingState.STARTING,
            detail=f"because of incidents/{incident.incident_id}",
            policy=policy.name,
            incident_id=incident.incident_id,
            runner=recipe.runner.kind,
            request=dumps(request, ensure_ascii=False),
            token=secrets.token_hex(16),
            create_ns=now_ns,
            deadline_ns=now_ns + int(recipe.deadline_s * NS),
        )
        await self._save(retraining)
        return retraining

    async def run(self, registry: RegistryCalls) -> None:
        """Go on with all of them, for ever."""
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            await self.look(registry)

    async def look(self, registry: RegistryCalls) -> None:
        """Take each a step further, if it can be."""
        for before in list(self._live.values()):
            try:
                after = await self._step(registry, before)
            except (UnavailableError, TimeoutError) as error:
                _log.debug("%s: next time: %s", before.name, error)
                continue
            except PenstockError as error:
                after = self._failed(before, error.message)
            except (LookupError, TypeError, ValueError) as error:
                _log.exception("%s: unexpected", before.name)
                after = self._failed(before, f"what came of it can't be understood: {error}")
            if self._live.get(before.retraining_id) is before and after != before:
                await self._keep(after)

    async def _keep(self, retraining: Retraining) -> None:
        """Store it, or leave it as it was to be taken the same step again."""
        try:
            await self._save(retraining)
        except UnavailableError as error:
            _log.error("could not save %s, trying again: %s", retraining.name, error)
        except InvalidArgumentError as error:
            _log.error("%s can't be stored, ever: %s", retraining.name, error)
            self._live.pop(retraining.retraining_id, None)

    async def _step(self, registry: RegistryCalls, now: Retraining) -> Retraining:
        recipe = self._recipes.get(now.policy)
        if recipe is None:
            await self._stop(now)
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
        if not result and (progress.is_over or now.runner == _WEBHOOK):
            result = await self._introductions.brought_by_itself(registry, now)
        if result:
            return ran(now, result, now_ns=self._clock())
        if progress.is_over:
            return self._failed(now, "it ended well, and brought nothing in")
        why = why_to_end(now, silence_s=recipe.silence_s, now_ns=self._clock())
        if why:
            await self._stop(now)
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

    async def _stop(self, now: Retraining) -> None:
        """End what was started for it; one that can't be is left to its own deadline."""
        if now.state is RetrainingState.RUNNING:
            try:
                await self._runners[now.runner].stop(now)
            except PenstockError as error:
                _log.warning("%s can't be ended: %s", now.name, error)
        elif now.state is RetrainingState.IMPORTING:
            self._introductions.stop(now)

    async def report(self, retraining_id: str, *, token: str, detail: str, failed: bool, version: str) -> Retraining:
        """Take in what somebody reports who retrains on behalf of a webhook; ``version`` is what came of it, or "".

        Raises:
            NotFoundError: there is none with this id.
            FailedPreconditionError: it is over, isn't a webhook's, or the token is another.
            InvalidArgumentError: the version is another model's.
        """
        now = await self._get(retraining_id)
        if now.runner != _WEBHOOK or not hmac.compare_digest(token.encode(), now.token.encode()):
            raise FailedPreconditionError(
                f"{now.name} takes no reports with this token, expected the report_token of its webhook",
                reason="WRONG_TOKEN",
            )
        if now.state not in (RetrainingState.STARTING, RetrainingState.RUNNING):
            raise FailedPreconditionError(f"{now.name} is {now.state}: {now.detail}")
        now = replace(now, heartbeat_ns=self._clock(), detail=detail[:MAX_DETAIL] or now.detail)
        if failed:
            now = self._failed(now, detail or "it was reported as failed")
        elif version:
            now = ran(now, dumps({"model_version": version}), now_ns=self._clock())
        await self._save(now)
        return now

    async def cancel(self, retraining_id: str, reason: str) -> Retraining:
        """End one that goes on; a rollout that it began goes on.

        Raises:
            NotFoundError: there is none with this id.
            FailedPreconditionError: it is over.
        """
        now = await self._get(retraining_id)
        if now.state.is_over:
            raise FailedPreconditionError(f"{now.name} is {now.state}: {now.detail}")
        await self._stop(now)
        now = self._failed(now, f"cancelled: {reason}" if reason else "cancelled")
        await self._save(now)
        return now

    async def _find(self, retraining_id: str) -> Retraining | None:
        known = self._live.get(retraining_id)
        return known or await asyncio.to_thread(self._store.retraining, retraining_id)

    async def _get(self, retraining_id: str) -> Retraining:
        found = await self._find(retraining_id)
        if found is None:
            raise NotFoundError(f"there is no retrainings/{retraining_id}")
        return found

    async def _save(self, now: Retraining) -> None:
        """Store one, and go on with it unless it is over."""
        before = self._live.get(now.retraining_id)
        await asyncio.to_thread(self._store.save_retraining, now)
        if now.state.is_over:
            self._live.pop(now.retraining_id, None)
            self.results[now.state] += 1
        else:
            self._live[now.retraining_id] = now
        if before is None or before.state is not now.state:
            _log.warning(
                "%s of %s is %s: %s", now.name, now.model, now.state, now.detail,
                extra={
                    "event.kind": "event",
                    "event.id": now.retraining_id,
                    "event.action": f"retraining-{now.state}",
                    "labels": {"model": now.model, "policy": now.policy},
                },
            )  # fmt: skip
