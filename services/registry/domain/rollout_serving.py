"""What a deployment serves while a version of it is on trial: a pure function of the rollout."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from services.common.errors import FailedPreconditionError
from services.registry.domain.resources import Deployment, ModelVersion, Signature, TensorSpec, TrafficSplit
from services.registry.domain.rollouts import Rollout, RolloutState, Strategy
from services.registry.domain.serving import MAX_VERSIONS

_UNCOMPARED = (Strategy.ALL_AT_ONCE, Strategy.BLUE_GREEN)


def serve(rollout: Rollout, deployment: Deployment, *, named: Collection[str] = ()) -> Deployment:
    """The deployment as a rollout that is in charge of it wants it. ``named`` are the versions that aliases name."""
    both = (rollout.candidate, rollout.baseline)
    others = tuple(one for one in deployment.versions if one not in both)
    if rollout.is_active:
        # The baseline is last, so that whoever knows nothing of splits sends everything there.
        return replace(deployment, versions=(rollout.candidate, *others, rollout.baseline), split=_split(rollout))
    if rollout.state is RolloutState.PROMOTED:
        kept = (rollout.baseline,) if rollout.is_warm or rollout.baseline in named else ()
        return replace(deployment, versions=(*others, *kept, rollout.candidate), split=None)
    before = rollout.versions_before
    restored = tuple(one for one in before if one in deployment.versions or one == rollout.baseline)
    return replace(deployment, versions=restored, split=None)


def _split(rollout: Rollout) -> TrafficSplit:
    step = rollout.current_step
    return TrafficSplit(
        rollout=rollout.name,
        candidate=rollout.candidate,
        baseline=rollout.baseline,
        candidate_share=step.candidate_share if step else 0.0,
        shadow_share=step.shadow_share if step else 0.0,
        sticky_key=rollout.plan.sticky_key,
        alias=rollout.plan.alias,
        comparison=f"comparisons/{rollout.comparison}" if rollout.comparison else "",
        pair_tolerance=rollout.plan.pair_tolerance,
    )


def check_candidate(
    strategy: Strategy, candidate: ModelVersion, baseline: ModelVersion, deployment: Deployment
) -> None:
    """Refuse a candidate that can't stand in for the baseline.

    Raises:
        FailedPreconditionError: with both.
    """
    if candidate.name == baseline.name:
        raise FailedPreconditionError(f"{candidate.name} gets the requests of {deployment.name} already")
    if candidate.name not in deployment.versions and len(deployment.versions) >= MAX_VERSIONS:
        raise FailedPreconditionError(f"{deployment.name} has {MAX_VERSIONS} versions, expected room for one more")
    if strategy in _UNCOMPARED or candidate.signature is None or baseline.signature is None:
        return
    new, old = candidate.signature, baseline.signature
    if sorted(map(_shown, new.inputs)) != sorted(map(_shown, old.inputs)):
        raise FailedPreconditionError(
            f"{candidate.name} takes {_listed(new.inputs)}, {baseline.name} takes {_listed(old.inputs)}: "
            f"expected the same inputs, or strategy {' or '.join(one.name for one in _UNCOMPARED)}"
        )
    _check_outputs(candidate.name, baseline.name, new, old)


def _check_outputs(candidate: str, baseline: str, new: Signature, old: Signature) -> None:
    if not set(map(_shown, old.outputs)) <= set(map(_shown, new.outputs)) or new.decoupled != old.decoupled:
        raise FailedPreconditionError(
            f"{candidate} gives {_answers(new)}, {baseline} gives {_answers(old)}: expected all outputs of the latter"
        )


def _answers(signature: Signature) -> str:
    return f"{_listed(signature.outputs)}{' as a stream' if signature.decoupled else ''}"


def _listed(tensors: Collection[TensorSpec]) -> str:
    return ", ".join(map(_shown, tensors)) or "nothing"


def _shown(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.datatype}{list(tensor.shape)}"
