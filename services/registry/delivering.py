"""How a version that a source brought comes to its model's traffic."""

from __future__ import annotations

from services.common import names
from services.registry import deployments, rollouts, sources
from services.registry.adapters import rollout_rows, source_rows
from services.registry.adapters.codec.rollouts import wanted_plan_from_pb
from services.registry.adapters.codec.sources import plan_to_pb
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids
from services.registry.domain.fleet import Fleet
from services.registry.domain.resources import Deployment, ModelVersion, VersionState
from services.registry.domain.rollouts import Rollout
from services.registry.domain.source_progress import Delivered
from services.registry.domain.sources import Source


def list_brought(tx: Transaction) -> list[Source]:
    """Sources for whose version on its way there is something to do: it is judged by now, or gone."""
    brought = [one for one in source_rows.page(tx) if one.progress.bringing]
    return [one for one in brought if _is_judged(tx, one) and not _is_known_to_wait(tx, one)]


def _is_judged(tx: Transaction, source: Source) -> bool:
    version = tx.find(ModelVersion, *ids.parse_version(source.progress.bringing))
    return version is None or version.state not in (VersionState.PENDING, VersionState.VALIDATING)


def _is_known_to_wait(tx: Transaction, source: Source) -> bool:
    active = rollout_rows.find_active(tx, source.model)
    return active is not None and source.progress.note == _waiting(source, active).text


def deliver(tx: Transaction, source: Source, *, fleet: Fleet) -> None:
    """Take the next step for the version that a source brought, and write down how far it is.

    Raises:
        PenstockError: the step is refused; nothing was written.
    """
    present = source_rows.find(tx, source.id)
    if present is not None and present.progress.bringing == source.progress.bringing:
        sources.note_delivery(tx, source.id, source.progress.bringing, _step(tx, present, fleet))


def refuse(tx: Transaction, source: Source, why: str) -> None:
    """Write down that the version which a source brought can't be served."""
    number = source.progress.bringing.rpartition("/")[2]
    delivered = Delivered(f"version {number}: {why}", is_over=True, is_failure=True)
    sources.note_delivery(tx, source.id, source.progress.bringing, delivered)


def _step(tx: Transaction, source: Source, fleet: Fleet) -> Delivered:
    version = tx.find(ModelVersion, *ids.parse_version(source.progress.bringing))
    if version is None:
        return Delivered(f"{source.progress.bringing} was deleted", is_over=True, is_failure=True)
    if version.state is VersionState.REJECTED:
        why = f"version {version.number} was rejected: {version.state_reason}"
        return Delivered(why, is_over=True, is_failure=True)
    if source.plan is None:
        return Delivered(f"version {version.number} is {version.state.name}", is_over=True)
    deployment = tx.find(Deployment, source.model)
    if deployment is None:
        wanted = Deployment(model=source.model, versions=(version.name,))
        deployments.create_deployment(tx, wanted, request_id="", fleet=fleet)
        return Delivered(f"version {version.number} is deployed", is_over=True)
    if deployment.versions[-1:] == (version.name,):
        return Delivered(f"version {version.number} has the requests already", is_over=True)
    return _roll_out(tx, source, version, fleet)


def _roll_out(tx: Transaction, source: Source, version: ModelVersion, fleet: Fleet) -> Delivered:
    """Begin a rollout as a person would. One that is under way goes first."""
    if (active := rollout_rows.find_active(tx, source.model)) is not None:
        if active.candidate == version.name:
            return Delivered(f"version {version.number} is on trial already", is_over=True, rollout=active.name)
        return _waiting(source, active)
    begun = rollouts.create_rollout(
        tx,
        names.deployment_name(source.model),
        version.name,
        wanted_plan_from_pb(plan_to_pb(source)),
        reason=f"brought by {source.name}",
        deployment_etag="",
        request_id="",
        fleet=fleet,
    )
    text = f"rollout {begun.number} of version {version.number} has begun"
    return Delivered(text, is_over=True, rollout=begun.name)


def _waiting(source: Source, active: Rollout) -> Delivered:
    number = source.progress.bringing.rpartition("/")[2]
    return Delivered(f"version {number} waits for the end of rollout {active.number}")
