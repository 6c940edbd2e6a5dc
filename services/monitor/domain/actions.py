"""Actions as they are remembered, and when the next one may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.policies import ActionKind, Mode, Policy


class Outcome(StrEnum):
    """What came of an action. The values are stored, and are labels of metrics."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    DRY_RUN = "dry_run"


@dataclass(frozen=True, slots=True)
class Action:
    """Something that was done because of an incident, or would have been. Times in Unix ns.

    ``target`` is a rollout, a replica's process or a retraining. ``action_id`` sorts by time.
    """

    action_id: str
    kind: ActionKind
    outcome: Outcome
    policy: str
    incident_id: str
    model: str
    version: str
    target: str
    reason: str
    detail: str
    create_ns: int
    end_ns: int | None = None

    @property
    def is_over(self) -> bool:
        return self.outcome is not Outcome.PENDING


class ActionBook:
    """What was done, as far as it says when the same may be done again. Dry runs are counted for themselves."""

    def __init__(self, actions: Iterable[Action] = ()) -> None:
        self._last_ns: dict[tuple[str, ActionKind, bool], int] = {}
        self._counts: Counter[tuple[str, ActionKind, bool]] = Counter()
        self._targets: set[tuple[str, ActionKind, bool, str]] = set()
        for action in actions:
            self.note(action)

    def note(self, action: Action) -> None:
        """Count a new action."""
        is_dry = action.outcome is Outcome.DRY_RUN
        last = action.model, action.kind, is_dry
        self._last_ns[last] = max(action.create_ns, self._last_ns.get(last, 0))
        self._counts[action.incident_id, action.kind, is_dry] += 1
        if action.outcome is not Outcome.REFUSED:
            self._targets.add((action.incident_id, action.kind, is_dry, action.target))

    def end(self, action: Action) -> None:
        """Note what came of an action that was pending: what was refused may be tried again."""
        if action.outcome is Outcome.REFUSED:
            self._targets.discard((action.incident_id, action.kind, False, action.target))

    def keep_only(self, incident_ids: Collection[str]) -> None:
        """Forget what was done because of other incidents, which are over; cool-downs stay."""
        for key in [key for key in self._counts if key[0] not in incident_ids]:
            del self._counts[key]
        self._targets = {one for one in self._targets if one[0] in incident_ids}

    def is_due(self, policy: Policy, incident: Incident, *, now_ns: int) -> bool:
        """Whether a policy that matches an incident is to be followed now."""
        is_dry = policy.mode is Mode.DRY_RUN
        last_ns = self._last_ns.get((incident.model, policy.action, is_dry))
        return (
            policy.is_old_enough(incident, now_ns=now_ns)
            and self._counts[incident.incident_id, policy.action, is_dry] < policy.max_actions
            and (last_ns is None or now_ns - last_ns >= policy.cool_down_s * NS)
        )

    def was_target(self, policy: Policy, incident: Incident, target: str) -> bool:
        """Whether this was acted upon because of this incident, or, by a dry run, said that it would be."""
        return (incident.incident_id, policy.action, policy.mode is Mode.DRY_RUN, target) in self._targets
