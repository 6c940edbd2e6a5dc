"""The moves of a rollout from state to state, and which of them a person may make. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.common.errors import FailedPreconditionError
from services.registry.domain.rollouts import MAX_EVENTS, Rollout, RolloutEvent, RolloutState


def move(rollout: Rollout, *, now_ns: int, actor: str, reason: str, **changes: Any) -> Rollout:
    """The rollout after something that everybody is to know: under another etag, with an event."""
    moved = replace(rollout, **changes)
    event = RolloutEvent(now_ns, moved.state, moved.step, actor, reason)
    return replace(
        moved,
        state_reason=reason,
        events=(*rollout.events, event)[-MAX_EVENTS:],
        update_time_ns=now_ns,
        etag=_next_etag(rollout),
    )


def _next_etag(rollout: Rollout) -> str:
    return f"{int(rollout.etag or '0', 16) + 1:x}"


def enter_step(rollout: Rollout, step: int, *, now_ns: int, actor: str, why: str) -> Rollout:
    """Put the shares of a step in force; its comparison begins anew."""
    again = rollout.attempt if step == rollout.step else 0
    return move(
        rollout,
        now_ns=now_ns,
        actor=actor,
        reason=f"{why}; {describe_step(rollout, step)}",
        state=RolloutState.RUNNING,
        step=step,
        step_start_ns=now_ns,
        attempt=again + 1,
        is_compared=True,
        is_guard=False,
        verdict=None,
        unstopped=_with_comparison(rollout),
    )


def compare_again(rollout: Rollout, *, now_ns: int, actor: str, reason: str) -> Rollout:
    """Begin the comparison of the present step anew, under another name; the shares stay."""
    attempt = rollout.attempt + 1
    return move(rollout, now_ns=now_ns, actor=actor, reason=reason, attempt=attempt, step_start_ns=now_ns)


def guard(rollout: Rollout) -> Rollout:
    """Have harm found while a person is waited for, after the step's comparison has said its last word."""
    return replace(rollout, attempt=rollout.attempt + 1, is_guard=True, etag=_next_etag(rollout))


def end(rollout: Rollout, state: RolloutState, *, now_ns: int, actor: str, reason: str) -> Rollout:
    """Promote it, roll it back, or let it fail."""
    keep_warm_ns = rollout.plan.keep_warm_ns if state is RolloutState.PROMOTED else 0
    return move(
        rollout,
        now_ns=now_ns,
        actor=actor,
        reason=reason,
        state=state,
        is_compared=False,
        is_guard=False,
        end_time_ns=now_ns,
        retire_time_ns=now_ns + keep_warm_ns if keep_warm_ns else 0,
        unstopped=_with_comparison(rollout),
    )


def retire(rollout: Rollout, *, now_ns: int, actor: str, reason: str) -> Rollout:
    """Keep the baseline of a promoted rollout no longer for it."""
    return move(rollout, now_ns=now_ns, actor=actor, reason=reason, retire_time_ns=0)


def describe_step(rollout: Rollout, step: int) -> str:
    """A step, for people."""
    shares, count = rollout.plan.steps[step], len(rollout.plan.steps)
    what = (
        f"{shares.candidate_share * 100:.4g} % of the requests go to version {rollout.candidate_id}"
        if shares.candidate_share
        else f"version {rollout.candidate_id} gets copies of {shares.shadow_share * 100:.4g} % of the requests"
    )
    return f"step {step + 1} of {count}: {what}"


def note_restarts(rollout: Rollout, seen: Mapping[str, int]) -> Rollout:
    """Know how often processes had been started again before; a new agent counts from 0."""
    least = {name: min(count, rollout.restarts.get(name, count)) for name, count in seen.items()}
    noted = {**rollout.restarts, **least}
    return rollout if noted == rollout.restarts else replace(rollout, restarts=noted)


def promote_by_hand(rollout: Rollout, *, is_whole: bool, now_ns: int, actor: str, reason: str) -> Rollout:
    """Go on to the next step, or to all requests.

    Raises:
        FailedPreconditionError: the candidate is being loaded, or the rollout is over.
    """
    _check_decidable(rollout)
    why = _by_hand(reason)
    following = rollout.step + 1
    if is_whole or following >= len(rollout.plan.steps):
        return end(rollout, RolloutState.PROMOTED, now_ns=now_ns, actor=actor, reason=f"promoted {why}")
    return enter_step(rollout, following, now_ns=now_ns, actor=actor, why=f"promoted {why}")


def hold_by_hand(rollout: Rollout, *, now_ns: int, actor: str, reason: str) -> Rollout:
    """Wait for a person; nothing changes where it waits already.

    Raises:
        FailedPreconditionError: as of :func:`promote_by_hand`.
    """
    _check_decidable(rollout)
    if rollout.state is RolloutState.HELD:
        return rollout
    told = f"held {_by_hand(reason)}"
    return move(rollout, now_ns=now_ns, actor=actor, reason=told, state=RolloutState.HELD)


def resume_by_hand(rollout: Rollout, *, now_ns: int, actor: str, reason: str) -> Rollout:
    """Begin the present step anew; nothing changes where nobody waits.

    Raises:
        FailedPreconditionError: as of :func:`promote_by_hand`, or there is no step.
    """
    _check_decidable(rollout)
    if rollout.state is not RolloutState.HELD:
        return rollout
    if not rollout.plan.steps:
        raise FailedPreconditionError(f"{rollout.name} has no steps to go on with: promote it, or roll it back")
    return enter_step(rollout, rollout.step, now_ns=now_ns, actor=actor, why=f"resumed {_by_hand(reason)}")


def roll_back_by_hand(rollout: Rollout, *, now_ns: int, actor: str, reason: str) -> Rollout:
    """Give everything back to the baseline.

    Raises:
        FailedPreconditionError: it is over, and its baseline is not kept warm.
    """
    if not (rollout.is_active or rollout.is_warm):
        refusal = f"{rollout.name} is {_over(rollout)}: there is nothing to roll back"
        if rollout.state is RolloutState.PROMOTED:
            refusal += f"; begin a rollout of {rollout.baseline} to go back to it"
        raise FailedPreconditionError(refusal)
    told = f"rolled back {_by_hand(reason)}"
    return end(rollout, RolloutState.ROLLED_BACK, now_ns=now_ns, actor=actor, reason=told)


def _by_hand(reason: str) -> str:
    return f"by hand: {reason}" if reason else "by hand"


def _check_decidable(rollout: Rollout) -> None:
    if rollout.state is RolloutState.LOADING:
        raise FailedPreconditionError(
            f"{rollout.name} is LOADING ({rollout.state_reason}): wait for it, or roll it back"
        )
    if not rollout.is_active:
        raise FailedPreconditionError(f"{rollout.name} is {_over(rollout)}, expected one that is under way")


def _over(rollout: Rollout) -> str:
    return f"{rollout.state.name} ({rollout.state_reason})"


def _with_comparison(rollout: Rollout) -> tuple[str, ...]:
    """What the monitor is to be told of once the present comparison is of no use any more."""
    is_over = rollout.verdict is not None and rollout.verdict.is_final and not rollout.is_guard
    if not rollout.comparison or is_over:
        return rollout.unstopped
    return (*rollout.unstopped, rollout.comparison)
