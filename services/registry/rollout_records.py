"""Rollouts as they are written down: with what the audit log says of them, and what ends with them."""

from __future__ import annotations

from services.common.errors import FailedPreconditionError
from services.registry import audit
from services.registry.adapters import rollout_rows
from services.registry.adapters.transaction import Transaction
from services.registry.domain import rollout_moves
from services.registry.domain.resources import Deployment
from services.registry.domain.rollouts import Rollout, RolloutState

_ACTIONS = {
    RolloutState.LOADING: "rollout.create",
    RolloutState.RUNNING: "rollout.step",
    RolloutState.HELD: "rollout.hold",
    RolloutState.PROMOTED: "rollout.promote",
    RolloutState.ROLLED_BACK: "rollout.roll_back",
    RolloutState.FAILED: "rollout.fail",
}


def write(tx: Transaction, rollout: Rollout, *, before: Rollout | None) -> None:
    """Write a rollout; where something happened to it, the audit log has that too."""
    rollout_rows.put(tx, rollout)
    if before is not None and rollout.events == before.events:
        return
    event = rollout.events[-1]
    audit.record(
        tx,
        _action(rollout, before),
        rollout.name,
        model=rollout.model,
        actor=event.actor,
        candidate=rollout.candidate,
        baseline=rollout.baseline,
        state=event.state.name,
        step=event.step + 1 if rollout.current_step else None,
        reason=event.reason,
    )


def _action(rollout: Rollout, before: Rollout | None) -> str:
    is_retired = before is not None and before.state is rollout.state is RolloutState.PROMOTED
    return "rollout.retire" if is_retired else _ACTIONS[rollout.state]


def give_way(tx: Transaction, deployment: Deployment) -> None:
    """Somebody changes a deployment's versions: what is kept warm is up to them from now on.

    Raises:
        FailedPreconditionError: a rollout of it is under way.
    """
    check_idle(tx, deployment.model)
    if (warm := rollout_rows.find_in_charge(tx, deployment.model)) is not None:
        told = "the deployment's versions were changed by hand"
        write(tx, rollout_moves.retire(warm, now_ns=tx.now_ns, actor=tx.caller.actor, reason=told), before=warm)


def check_idle(tx: Transaction, model: str) -> None:
    """Raises: FailedPreconditionError: a rollout is under way."""
    if (active := rollout_rows.find_active(tx, model)) is not None:
        raise FailedPreconditionError(
            f"{active.name} of {active.candidate} is {active.state.name} and decides which versions are served: "
            f"wait until it ends, promote it as a whole, or roll it back (penstock rollout rollback {model})"
        )


def end_deleted(tx: Transaction, deployment: Deployment) -> None:
    """Let go of the rollout of a deployment that is deleted."""
    before = rollout_rows.find_in_charge(tx, deployment.model)
    if before is None:
        return
    told, actor = "the deployment was deleted", tx.caller.actor
    if before.is_active:
        ended = rollout_moves.end(before, RolloutState.ROLLED_BACK, now_ns=tx.now_ns, actor=actor, reason=told)
    else:
        ended = rollout_moves.retire(before, now_ns=tx.now_ns, actor=actor, reason=told)
    write(tx, ended, before=before)
