"""What carries rollouts on: asks the monitor, and has done what follows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.common.errors import PenstockError
from services.registry import rollouts
from services.registry.adapters import rollout_rows
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.monitor import MonitorAwayError, Monitors, Refusal
from services.registry.adapters.transaction import Transaction
from services.registry.domain.resources import Deployment, InstanceState
from services.registry.domain.rollout_steps import Facts, advance
from services.registry.domain.rollouts import Rollout, RolloutState
from services.registry.nodes import Nodes

_log = logging.getLogger(__name__)

_ASK_NS = 10**9
"""How often the monitor is asked about one rollout."""
_STOP_NS = 5 * 10**9
"""How often it is tried to end a comparison."""
_SILENCE_NS = 10 * 10**9
"""From when on it is told that the monitor doesn't answer."""


@dataclass(slots=True)
class _Asked:
    """When the monitor was asked about a rollout, since when it gives no answer (0: it does), and when it was asked to
    end a comparison.
    """

    asked_ns: int = 0
    silent_ns: int = 0
    stopping_ns: int = 0


class RolloutDriver:
    """Of the registry that writes. No transaction is open while the monitor is asked."""

    def __init__(self, database: Database, nodes: Nodes, monitors: Monitors, *, clock: Clock, monotonic: Clock) -> None:
        self._database = database
        self._nodes = nodes
        self._monitors = monitors
        self._clock = clock
        self._monotonic = monotonic
        self._asked: dict[str, _Asked] = {}
        self._is_idle = False
        self.active_count = 0

    def wake(self) -> None:
        """There may be something to do again."""
        self._is_idle = False

    async def drive(self) -> None:
        """Look once after every rollout that something is left to be done about. Cheap where there is none.

        Raises:
            PenstockError: the database can't be used.
        """
        if self._is_idle:
            return
        self._is_idle = True  # before reading, so that nothing that comes meanwhile is missed
        try:
            found = await self._database.read(_read_open)
        except PenstockError:
            self.wake()
            raise
        self.active_count = sum(rollout.is_active for rollout, _ in found)
        if found:
            self.wake()
            await asyncio.gather(*(self._drive_safely(rollout, deployment) for rollout, deployment in found))
        names = {rollout.name for rollout, _ in found}
        self._asked = {name: asked for name, asked in self._asked.items() if name in names}

    async def _drive_safely(self, rollout: Rollout, deployment: Deployment | None) -> None:
        try:
            await self._drive(rollout, deployment)
        except PenstockError as error:
            _log.warning("%s can't be carried on, it is tried again: %s", rollout.name, error)

    async def _drive(self, rollout: Rollout, deployment: Deployment | None) -> None:
        if rollout.unstopped:
            await self._stop_comparison(rollout)
        facts = Facts(now_ns=self._clock(), deployment=deployment)
        # What needs no monitor does not wait for one.
        if advance(rollout, facts).etag != rollout.etag:
            await self._follow(rollout, facts)
        elif rollout.is_active and self._is_due(rollout):
            heard = await self._ask(rollout) if _is_monitors(rollout, deployment) else {}
            await self._follow(rollout, Facts(now_ns=self._clock(), deployment=deployment, **heard))

    async def _follow(self, rollout: Rollout, facts: Facts) -> None:
        advanced = advance(rollout, facts)
        if advanced.etag != rollout.etag:
            await self._nodes.write(rollouts.follow_facts, rollout, facts)
            self._asked.pop(rollout.name, None)  # the next question is another one
        elif advanced != rollout:
            await self._database.write(rollouts.note, rollout, advanced)

    def _is_due(self, rollout: Rollout) -> bool:
        asked = self._asked.get(rollout.name)
        return asked is None or self._monotonic() - asked.asked_ns >= _ASK_NS

    async def _ask(self, rollout: Rollout) -> Mapping[str, Any]:
        """What the monitor says, as it goes into :class:`Facts`."""
        asked = self._asked.setdefault(rollout.name, _Asked())
        asked.asked_ns = self._monotonic()
        try:
            heard = await self._listen(rollout)
        except MonitorAwayError as error:
            now_ns = self._monotonic()
            asked.silent_ns = asked.silent_ns or now_ns
            return {"silence": str(error)} if now_ns - asked.silent_ns >= _SILENCE_NS else {}
        asked.silent_ns = 0
        return heard

    async def _listen(self, rollout: Rollout) -> Mapping[str, Any]:
        if rollout.state is RolloutState.LOADING:
            return {"probes": await self._monitors.list_probes(rollout)}
        answer = await self._monitors.compare(rollout, now_ns=self._clock())
        if isinstance(answer, Refusal):
            return {"refusal": answer.reason, "is_taken": answer.is_taken}
        return {"verdict": answer}

    async def _stop_comparison(self, rollout: Rollout) -> None:
        """One at a time; while the monitor is away they wait, and end there by themselves."""
        comparison = rollout.unstopped[0]
        asked = self._asked.setdefault(rollout.name, _Asked())
        if asked.stopping_ns and self._monotonic() - asked.stopping_ns < _STOP_NS:
            return
        asked.stopping_ns = self._monotonic()
        try:
            await self._monitors.stop(comparison, reason=f"{rollout.name}: {rollout.state_reason}")
        except MonitorAwayError as error:
            _log.debug("%s goes on for nothing: %s", comparison, error)
            return
        asked.stopping_ns = 0
        await self._database.write(rollouts.forget_comparison, rollout.model, rollout.number, comparison)


def _read_open(tx: Transaction) -> list[tuple[Rollout, Deployment | None]]:
    return [(rollout, tx.find(Deployment, rollout.model)) for rollout in rollout_rows.list_open(tx)]


def _is_monitors(rollout: Rollout, deployment: Deployment | None) -> bool:
    """Whether the monitor may know something of use."""
    if rollout.state is not RolloutState.LOADING:
        return rollout.is_compared
    instances = () if deployment is None else deployment.instances
    return any(one.version == rollout.candidate and one.state is InstanceState.READY for one in instances)
