"""What happens to rollouts: what people ask for, and what they come to by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from services.common import names
from services.common.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from services.registry import deployments, rollout_records
from services.registry.adapters import rollout_rows
from services.registry.adapters.transaction import Transaction
from services.registry.domain import etags, ids, paging, rollout_moves, rollout_plans, rollout_serving
from services.registry.domain.fleet import Fleet
from services.registry.domain.resources import Alias, Deployment, ModelVersion, VersionState
from services.registry.domain.rollout_plans import WantedPlan
from services.registry.domain.rollout_steps import Facts, advance
from services.registry.domain.rollouts import Rollout, RolloutPlan, RolloutState
from services.registry.replays import create_once


def create_rollout(
    tx: Transaction,
    parent: str,
    candidate: str,
    plan: WantedPlan,
    *,
    reason: str,
    deployment_etag: str,
    request_id: str,
    fleet: Fleet,
) -> Rollout:
    model = ids.parse_deployment(parent)
    if (of_model := ids.parse_version(candidate)[0]) != model:
        raise InvalidArgumentError(f"got candidate {candidate} of model {of_model}, expected a version of {model}")
    checked = rollout_plans.complete(plan)
    rollout_plans.check_words(reason)

    def create() -> Rollout:
        deployment = tx.get(Deployment, model)
        etags.check(deployment.name, present=deployment.etag, given=deployment_etag)
        rollout_records.check_idle(tx, model)
        _check(tx, deployment, candidate, checked)
        deployment = _retire_former(tx, deployment)
        begun = _begin(tx, deployment, candidate, checked, reason)
        _settle(tx, begun, before=None, deployment=deployment, fleet=fleet)
        return begun

    return create_once(tx, create, kind=Rollout, request_id=request_id, target=f"a rollout of {candidate}")


def _check(tx: Transaction, deployment: Deployment, candidate: str, plan: RolloutPlan) -> None:
    """Raises: NotFoundError, FailedPreconditionError: the candidate can't be tried like that."""
    baseline = tx.get(ModelVersion, *ids.parse_version(deployment.versions[-1]))
    version = tx.get(ModelVersion, *ids.parse_version(candidate))
    if version.state is not VersionState.READY:
        reason = f" ({version.state_reason})" if version.state_reason else ""
        raise FailedPreconditionError(f"{candidate} is {version.state.name}{reason}, expected READY")
    if version.trust.refusal:
        raise FailedPreconditionError(f"{candidate} can't be deployed: {version.trust.refusal}")
    rollout_serving.check_candidate(plan.strategy, version, baseline, deployment)
    if plan.alias and (alias := tx.get(Alias, deployment.model, plan.alias)).version != baseline.number:
        named = names.version_name(alias.model, str(alias.version))
        raise FailedPreconditionError(f"{alias.name} names {named}, expected {baseline.name}, which has the requests")


def _retire_former(tx: Transaction, deployment: Deployment) -> Deployment:
    """The deployment without the baseline that an earlier rollout keeps warm."""
    warm = rollout_rows.find_in_charge(tx, deployment.model)
    if warm is None:
        return deployment
    told = "the next rollout begins"
    retired = rollout_moves.retire(warm, now_ns=tx.now_ns, actor=tx.caller.actor, reason=told)
    rollout_records.write(tx, retired, before=warm)
    return rollout_serving.serve(retired, deployment, named=_named(tx, deployment.model))


def _begin(tx: Transaction, deployment: Deployment, candidate: str, plan: RolloutPlan, reason: str) -> Rollout:
    fresh = Rollout(
        model=deployment.model,
        number=rollout_rows.next_number(tx, deployment.model),
        candidate=candidate,
        baseline=deployment.versions[-1],
        plan=plan,
        create_time_ns=tx.now_ns,
        creator=tx.caller.actor,
        reason=reason,
        versions_before=deployment.versions,
    )
    told = f"version {fresh.candidate_id} is being loaded"
    return rollout_moves.move(fresh, now_ns=tx.now_ns, actor=tx.caller.actor, reason=told)


def get_rollout(tx: Transaction, name: str) -> Rollout:
    if (found := rollout_rows.find(tx, *ids.parse_rollout(name))) is None:
        raise NotFoundError(f"{name} does not exist")
    return found


def list_rollouts(tx: Transaction, *, parent: str, is_active: bool, size: int, token: str) -> tuple[list[Rollout], str]:
    """A page of rollouts, and the token of the next one (empty after the last)."""
    model = ids.parse_rollout_parent(parent)
    page = paging.parse(f"rollouts {parent} {is_active}", key_types=(str, int), size=size, token=token)
    found = rollout_rows.page(tx, model=model, is_active=is_active, after=page.after, limit=page.size + 1)
    if len(found) <= page.size:
        return found, ""
    found.pop()
    return found, page.next_token((found[-1].model, found[-1].number))


def promote_rollout(tx: Transaction, name: str, *, etag: str, is_whole: bool, reason: str, fleet: Fleet) -> Rollout:
    def promote(rollout: Rollout) -> Rollout:
        return rollout_moves.promote_by_hand(
            rollout, is_whole=is_whole, now_ns=tx.now_ns, actor=tx.caller.actor, reason=reason
        )

    return _decide(tx, name, promote, etag=etag, reason=reason, fleet=fleet)


def hold_rollout(tx: Transaction, name: str, *, etag: str, reason: str, fleet: Fleet) -> Rollout:
    def hold(rollout: Rollout) -> Rollout:
        return rollout_moves.hold_by_hand(rollout, now_ns=tx.now_ns, actor=tx.caller.actor, reason=reason)

    return _decide(tx, name, hold, etag=etag, reason=reason, fleet=fleet)


def resume_rollout(tx: Transaction, name: str, *, etag: str, reason: str, fleet: Fleet) -> Rollout:
    def resume(rollout: Rollout) -> Rollout:
        return rollout_moves.resume_by_hand(rollout, now_ns=tx.now_ns, actor=tx.caller.actor, reason=reason)

    return _decide(tx, name, resume, etag=etag, reason=reason, fleet=fleet)


def roll_back_rollout(tx: Transaction, name: str, *, etag: str, reason: str, fleet: Fleet) -> Rollout:
    def roll_back(rollout: Rollout) -> Rollout:
        return rollout_moves.roll_back_by_hand(rollout, now_ns=tx.now_ns, actor=tx.caller.actor, reason=reason)

    return _decide(tx, name, roll_back, etag=etag, reason=reason, fleet=fleet)


def _decide(
    tx: Transaction, name: str, decide: Callable[[Rollout], Rollout], *, etag: str, reason: str, fleet: Fleet
) -> Rollout:
    """Do as a person says.

    Raises:
        AbortedError: it is another one than that person knows.
    """
    rollout_plans.check_words(reason)
    present = get_rollout(tx, name)
    etags.check(name, present=present.etag, given=etag)
    decided = decide(present)
    if decided is not present:
        _settle(tx, decided, before=present, deployment=tx.find(Deployment, present.model), fleet=fleet)
    return decided


def follow_facts(tx: Transaction, seen: Rollout, facts: Facts, *, fleet: Fleet) -> Rollout | None:
    """Do what follows from facts about a rollout as it was ``seen``; None where somebody was faster."""
    present = rollout_rows.find(tx, seen.model, seen.number)
    if present is None or present.etag != seen.etag:
        return None
    deployment = tx.find(Deployment, seen.model)
    advanced = advance(present, replace(facts, now_ns=tx.now_ns, deployment=deployment))
    if advanced != present:
        _settle(tx, advanced, before=present, deployment=deployment, fleet=fleet)
    return advanced


def note(tx: Transaction, seen: Rollout, noted: Rollout) -> None:
    """Write what changed under the same etag, unless somebody was faster."""
    present = rollout_rows.find(tx, seen.model, seen.number)
    if present is not None and present.etag == seen.etag:
        told = replace(present, state_reason=noted.state_reason, verdict=noted.verdict, restarts=noted.restarts)
        rollout_rows.put(tx, told)


def forget_comparison(tx: Transaction, model: str, number: int, comparison: str) -> None:
    """The monitor knows that it is of no use any more."""
    if (present := rollout_rows.find(tx, model, number)) is not None:
        left = tuple(one for one in present.unstopped if one != comparison)
        rollout_rows.put(tx, replace(present, unstopped=left))


def _settle(
    tx: Transaction, rollout: Rollout, *, before: Rollout | None, deployment: Deployment | None, fleet: Fleet
) -> None:
    """Write a rollout together with what the deployment, and the alias, are by it."""
    rollout_records.write(tx, rollout, before=before)
    if deployment is None or (before is not None and rollout.etag == before.etag):
        return
    _move_alias(tx, rollout)
    wanted = rollout_serving.serve(rollout, deployment, named=_named(tx, rollout.model))
    if (wanted.versions, wanted.split) != (deployment.versions, deployment.split):
        deployments.put_deployment(tx, wanted, fleet, before=deployment.versions)


def _move_alias(tx: Transaction, rollout: Rollout) -> None:
    """Point the plan's alias at the version that has the requests."""
    if not rollout.plan.alias or rollout.is_active:
        return
    is_promoted = rollout.state is RolloutState.PROMOTED
    goal, other = (rollout.candidate, rollout.baseline) if is_promoted else (rollout.baseline, rollout.candidate)
    alias = tx.find(Alias, rollout.model, rollout.plan.alias)
    if alias is not None and names.version_name(alias.model, str(alias.version)) == other:
        tx.put(replace(alias, version=ids.parse_version(goal)[1], update_time_ns=tx.now_ns))


def _named(tx: Transaction, model: str) -> frozenset[str]:
    """The versions that aliases name."""
    return frozenset(names.version_name(model, str(one.version)) for one in tx.page(Alias, model=model))
