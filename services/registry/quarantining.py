"""A replica's process that is taken out, and replaced."""

from __future__ import annotations

from dataclasses import replace

from services.common.errors import FailedPreconditionError
from services.registry import audit, placing
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids, limits, quarantines
from services.registry.domain.fleet import Fleet
from services.registry.domain.resources import Deployment, InstanceStatus, Placement, Quarantine


def quarantine_replica(
    tx: Transaction, name: str, instance: str, *, is_last_allowed: bool, reason: str, fleet: Fleet
) -> Deployment:
    """Have its agent replace a replica's process; another node's, where it was so lately on this one.

    Etags stay: nobody's update is to fail for that.

    Raises:
        InvalidArgumentError: without a reason.
        NotFoundError: the model isn't deployed, or has no such replica.
        FailedPreconditionError: no other replica of its version takes requests.
    """
    limits.check_reason(reason)
    deployment = tx.get(Deployment, ids.parse_deployment(name))
    status, number = quarantines.replica_of(deployment, instance)
    is_last = quarantines.is_last(deployment, status, now_ns=tx.now_ns)
    if is_last and not is_last_allowed:
        raise FailedPreconditionError(
            f"no other replica of {status.version} takes requests: {status.instance} stays, unless is_last_allowed",
            reason="LAST_REPLICA",
        )
    before = quarantines.latest(deployment, version=status.version, replica=number, node=status.node)
    is_relapse = before is not None and tx.now_ns - before.quarantine_time_ns < quarantines.RELAPSE_NS
    target = placing.elsewhere(tx, fleet, version=status.version, replica=number) if is_relapse else ""
    quarantine = Quarantine(
        version=status.version,
        replica=number,
        node=status.node,
        sequence=before.sequence + 1 if before is not None else 1,
        is_last=is_last,
        quarantine_time_ns=tx.now_ns,
        actor=tx.caller.actor,
        reason=reason,
    )
    changed = replace(deployment, quarantines=quarantines.added(deployment, quarantine))
    if target:
        changed = replace(changed, placements=tuple(_moved(changed, status, number, target, is_last=is_last)))
    tx.store(changed)
    tx.announce(changed)
    details = {"instance": instance, "reason": reason, "node": target or status.node}
    audit.record(tx, "replica.quarantine", deployment.name, model=deployment.model, **details)
    return changed


def _moved(
    deployment: Deployment, status: InstanceStatus, number: int, target: str, *, is_last: bool
) -> list[Placement]:
    """The placements with the replica on another node; the last one leaves when another takes requests."""
    places: list[Placement] = []
    for one in deployment.placements:
        if (one.version, one.replica, one.node) != (status.version, number, status.node):
            places.append(one)
            continue
        if is_last:
            places.append(replace(one, is_leaving=True))
        places.append(replace(one, node=target))
    return places
