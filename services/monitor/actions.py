"""What the monitor does by itself while incidents are open: decided by policies, done by the registry, remembered."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from services.common.errors import AbortedError, InvalidArgumentError, PenstockError, UnavailableError
from services.monitor.adapters.action_store import ActionStore
from services.monitor.adapters.registry_calls import RegistryCalls, Rollout
from services.monitor.domain.actions import Action, ActionBook, Outcome
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Signal
from services.monitor.domain.policies import ActionKind, Mode, Policy, matching
from services.monitor.retrainings import Retrainings

_log = logging.getLogger(__name__)

LOOK_PERIOD_S = 1.0
_LOOK_AGAIN_NS = 5 * NS
"""How long what found nothing to act upon is left alone."""
_GIVE_UP_NS = 600 * NS
_TRY_AGAIN = (UnavailableError, AbortedError)


class Actor:
    """Looks at the open incidents every second. Single-threaded; ``clock`` gives Unix nanoseconds.

    An action is stored before it is done, and again when it is: one that the monitor was killed over is gone on with.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        store: ActionStore,
        retrainings: Retrainings,
        *,
        open_incidents: Callable[[], Iterable[Incident]],
        failing_probes: Callable[[str, str], Iterable[str]],
        clock: Callable[[], int],
    ) -> None:
        """``failing_probes`` gives the replicas of a model and version that fail their golden probe."""
        self.policies = policies
        self.results: Counter[tuple[ActionKind, Outcome]] = Counter()
        """What was done since the monitor began."""
        self._store = store
        self._retrainings = retrainings
        self._open_incidents = open_incidents
        self._failing_probes = failing_probes
        self._clock = clock
        self._book = ActionBook()
        self._pending: dict[str, Action] = {}
        self._policies_by_name = {policy.name: policy for policy in policies}
        self._idle_ns: dict[tuple[str, str], int] = {}
        """When a policy last found nothing to do for an incident."""

    async def adopt(self) -> None:
        """Take over what was done before.

        Raises:
            UnavailableError: the database can't be used.
        """
        known = await asyncio.to_thread(self._store.all_actions)
        self._book = ActionBook(known)
        self._pending = {action.action_id: action for action in known if not action.is_over}

    async def run(self, registry: RegistryCalls) -> None:
        """Act, for ever."""
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            await self.look(registry)

    async def look(self, registry: RegistryCalls) -> None:
        """Do what is due now."""
        incidents = {one.incident_id: one for one in self._open_incidents()}
        for action in list(self._pending.values()):
            await self._go_on(registry, action, incidents.get(action.incident_id))
        for incident in incidents.values():
            for policy in matching(self.policies, incident):
                if self._is_due(policy, incident):
                    await self._begin(registry, policy, incident)
        self._book.keep_only(incidents)
        self._idle_ns = {key: at for key, at in self._idle_ns.items() if key[0] in incidents}

    def _is_due(self, policy: Policy, incident: Incident) -> bool:
        now_ns = self._clock()
        idle_ns = self._idle_ns.get((incident.incident_id, policy.name))
        if idle_ns is not None and now_ns - idle_ns < _LOOK_AGAIN_NS:
            return False
        return self._book.is_due(policy, incident, now_ns=now_ns)

    async def _begin(self, registry: RegistryCalls, policy: Policy, incident: Incident) -> None:
        """Act, if there is something to act upon."""
        try:
            target = await self._target(registry, policy, incident)
        except PenstockError as error:
            _log.debug("policy %s: looking again: %s", policy.name, error)
            target = None
        is_dry = policy.mode is Mode.DRY_RUN
        if target is None or (is_dry and self._book.was_target(policy, incident, target)):
            self._idle_ns[incident.incident_id, policy.name] = self._clock()
            return
        now_ns = self._clock()
        action = Action(
            action_id=f"{now_ns // 1_000_000:012x}{os.urandom(4).hex()}",
            kind=policy.action,
            outcome=Outcome.DRY_RUN if is_dry else Outcome.PENDING,
            policy=policy.name,
            incident_id=incident.incident_id,
            model=incident.model,
            version=incident.version,
            target=target,
            reason=incident.summary,
            detail="only said, as the policy is a dry run" if is_dry else "",
            create_ns=now_ns,
            end_ns=now_ns if is_dry else None,
        )
        if await self._save(action):
            self._book.note(action)
            if is_dry:
                self._tell(action)
            else:
                self._pending[action.action_id] = action
                await self._go_on(registry, action, incident)

    async def _target(self, registry: RegistryCalls, policy: Policy, incident: Incident) -> str | None:
        """What is to be acted upon; None: there is nothing now."""
        if policy.action is ActionKind.QUARANTINE:
            return self._replica(policy, incident)
        if policy.action is ActionKind.RETRAIN:
            return None if self._retrainings.is_under_way(incident.model) else ""
        rollout = await self._rollout(registry, incident, policy.action)
        return None if rollout is None else rollout.name

    def _replica(self, policy: Policy, incident: Incident) -> str | None:
        """The replica at fault, or the next that fails its golden probe: one after the other, each process once.

        An incident goes on with the name of a process that was taken out, if others are at fault by then.
        """
        failing = self._failing_probes(incident.model, incident.version) if incident.signal is Signal.PROBE else ()
        for replica in filter(None, (incident.replica, *failing)):
            if not self._book.was_target(policy, incident, replica):
                return replica
        return None

    async def _rollout(self, registry: RegistryCalls, incident: Incident, kind: ActionKind) -> Rollout | None:
        """The version's rollout that can still be held, or taken back."""
        candidate = f"models/{incident.model}/versions/{incident.version}"
        newest = next(iter(await registry.rollouts(incident.model)), None)
        if newest is None or newest.candidate != candidate:
            return None
        if kind is ActionKind.HOLD:
            return newest if newest.state == Rollout.STATE_RUNNING else None
        is_warm = newest.HasField("retire_time") and newest.retire_time.ToNanoseconds() > self._clock()
        return newest if newest.state == Rollout.STATE_PROMOTED and is_warm else None

    async def _go_on(self, registry: RegistryCalls, action: Action, incident: Incident | None) -> None:
        """Do an action that is pending; what only time can help is tried again."""
        try:
            done = await self._do(registry, action, incident)
        except _TRY_AGAIN as error:
            if self._clock() - action.create_ns < _GIVE_UP_NS:
                _log.warning("%s of %s is tried again: %s", action.kind, action.model, error)
                return
            done = replace(action, outcome=Outcome.REFUSED, detail=f"given up: {error}")
        except PenstockError as error:
            done = replace(action, outcome=Outcome.REFUSED, detail=error.message)
        done = replace(done, end_ns=self._clock())
        if await self._save(done):
            self._book.end(done)
            del self._pending[action.action_id]
            self._tell(done)

    async def _do(self, registry: RegistryCalls, action: Action, incident: Incident | None) -> Action:
        if action.kind is ActionKind.RETRAIN:
            return await self._retrain(registry, action, incident)
        reason = f"incidents/{action.incident_id}: {action.reason}"
        if action.kind is ActionKind.QUARANTINE:
            return await self._quarantine(registry, action, reason)
        rollout = await registry.rollout(action.target)
        if action.kind is ActionKind.HOLD:
            if rollout.state == Rollout.STATE_RUNNING:
                await registry.hold(rollout, reason)
            return replace(action, outcome=Outcome.DONE, detail="the rollout is held")
        if rollout.state != Rollout.STATE_ROLLED_BACK:
            await registry.roll_back(rollout, reason)
        return replace(action, outcome=Outcome.DONE, detail=f"{rollout.baseline} takes all requests again")

    async def _quarantine(self, registry: RegistryCalls, action: Action, reason: str) -> Action:
        instance = action.target.partition("@")[0]
        done = replace(action, outcome=Outcome.DONE, detail=f"{instance} is replaced")
        deployment = await registry.deployment(action.model)
        for one in deployment.quarantines:
            # The call was made, and the monitor was killed before it wrote that down.
            is_same = instance.endswith(f".{one.replica}") and one.version.endswith(f"/{action.version}")
            if is_same and one.quarantine_time.ToNanoseconds() >= action.create_ns and one.reason == reason[:1_024]:
                return done
        await registry.quarantine(action.model, instance, reason)
        return done

    async def _retrain(self, registry: RegistryCalls, action: Action, incident: Incident | None) -> Action:
        """Begin a retraining, which has the action's id: one that was begun before is not begun again."""
        policy = self._policies_by_name.get(action.policy)
        if incident is None or policy is None or policy.recipe is None:
            return replace(action, outcome=Outcome.REFUSED, detail="the incident, or the policy, is gone")
        begun = await self._retrainings.begin(registry, action.action_id, policy, incident)
        return replace(action, outcome=Outcome.DONE, target=begun.name, detail=f"{begun.name} is begun")

    async def _save(self, action: Action) -> bool:
        """Store an action; False if that is to be tried again."""
        try:
            await asyncio.to_thread(self._store.save_action, action)
        except UnavailableError as error:
            _log.error("could not save action %s, trying again: %s", action.action_id, error)
            return False
        except InvalidArgumentError as error:
            _log.error("action %s can't be stored, ever: %s", action.action_id, error)
        return True

    def _tell(self, action: Action) -> None:
        self.results[action.kind, action.outcome] += 1
        _log.warning(
            "%s of %s %s, %s: %s; because: %s",
            *(action.kind, action.model, action.target or action.version, action.outcome, action.detail, action.reason),
            extra={
                "event.kind": "event",
                "event.id": action.action_id,
                "event.action": f"action-{action.kind}",
                "labels": {"model": action.model, "version": action.version, "policy": action.policy},
            },
        )
