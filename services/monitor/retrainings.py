"""The retrainings under way: begun, taken on step by step, reported of and cancelled, and stored after each."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from json import dumps
from typing import Any

from services.common.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from services.monitor.adapters.action_store import ActionStore
from services.monitor.adapters.registry_calls import RegistryCalls
from services.monitor.domain.alerts import Links
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.policies import Policy
from services.monitor.domain.retraining import MAX_DETAIL, Retraining, RetrainingState, ended, ran, request_of
from services.monitor.retraining_steps import WEBHOOK, RetrainingSteps

_log = logging.getLogger(__name__)

MAX_UNDER_WAY = 8
LOOK_PERIOD_S = 1.0


class Retrainings:
    """Retrainings by id. Single-threaded; ``clock`` gives Unix nanoseconds.

    After a kill each goes on with the step that was stored last. One thing happens at a time, and to its end: a caller
    who goes away does not part what is stored from what is gone on with.
    """

    def __init__(self, store: ActionStore, steps: RetrainingSteps, *, links: Links, clock: Callable[[], int]) -> None:
        self.results: Counter[RetrainingState] = Counter()
        """How those ended that did since the monitor began."""
        self._store = store
        self._steps = steps
        self._links = links
        self._clock = clock
        self._live: dict[str, Retraining] = {}
        self._turn = asyncio.Lock()

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
            async with self._turn:
                if self._live.get(before.retraining_id) is before:
                    await self._go_on(registry, before)

    async def _go_on(self, registry: RegistryCalls, before: Retraining) -> None:
        """Take a step and store it, or leave all as it was for the same step to be taken again."""
        try:
            after = await self._steps.take(registry, before)
        except (UnavailableError, TimeoutError) as error:
            _log.debug("%s: next time: %s", before.name, error)
            return
        if after == before:
            return
        try:
            await self._save(after)
        except UnavailableError as error:
            _log.error("could not save %s, trying again: %s", after.name, error)
        except InvalidArgumentError as error:
            _log.error("%s can't be stored, ever: %s", after.name, error)
            self._live.pop(after.retraining_id, None)

    async def report(self, retraining_id: str, *, token: str, detail: str, failed: bool, version: str) -> Retraining:
        """Take in what somebody reports who retrains on behalf of a webhook; ``version`` is what came of it, or "".

        Raises:
            NotFoundError: there is none with this id.
            FailedPreconditionError: it is over, isn't a webhook's, or the token is another.
            InvalidArgumentError: the version is another model's.
        """
        return await self._in_turn(self._note_report(retraining_id, token, detail, failed=failed, version=version))

    async def _note_report(
        self, retraining_id: str, token: str, detail: str, *, failed: bool, version: str
    ) -> Retraining:
        now = await self._get(retraining_id)
        if now.runner != WEBHOOK or not hmac.compare_digest(token.encode(), now.token.encode()):
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
        return await self._in_turn(self._end(retraining_id, f"cancelled: {reason}" if reason else "cancelled"))

    async def _end(self, retraining_id: str, why: str) -> Retraining:
        now = await self._get(retraining_id)
        if now.state.is_over:
            raise FailedPreconditionError(f"{now.name} is {now.state}: {now.detail}")
        await self._steps.stop(now)
        now = self._failed(now, why)
        await self._save(now)
        return now

    async def _in_turn(self, work: Coroutine[Any, Any, Retraining]) -> Retraining:
        async def run() -> Retraining:
            async with self._turn:
                return await work

        return await asyncio.shield(asyncio.create_task(run()))

    def _failed(self, now: Retraining, why: str) -> Retraining:
        return ended(now, RetrainingState.FAILED, why, now_ns=self._clock())

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
