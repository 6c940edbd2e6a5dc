"""Replicas whose process is taken out and replaced: which may be, and what is remembered of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import NotFoundError
from services.registry.domain import serving
from services.registry.domain.resources import Deployment, InstanceState, InstanceStatus, Quarantine

KEPT = 64
SETTLING_NS = 10 * 10**9
"""So long after its own quarantine a replica counts as one that takes requests only if its process is a new one."""
RELAPSE_NS = 3_600 * 10**9
"""A replica that is quarantined again so soon on the same node is placed elsewhere: it may be the node."""


def replica_of(deployment: Deployment, instance: str) -> tuple[InstanceStatus, int]:
    """What is reported of a replica's process, by its name, and the replica's number.

    Raises:
        NotFoundError: it isn't placed where it is reported, or it isn't reported.
    """
    for status in deployment.instances:
        found = serving.replica_of(status)
        if status.instance == instance and found is not None:
            places = ((one.version, one.replica, one.node) for one in deployment.placements if not one.is_leaving)
            if (*found, status.node) in places:
                return status, found[1]
    expected = ", ".join(one.instance for one in deployment.instances) or "none: nothing runs"
    raise NotFoundError(f"{deployment.name} has no replica {instance[:255]!r}, expected one of {expected}")


def is_last(deployment: Deployment, status: InstanceStatus, *, now_ns: int) -> bool:
    """Whether no other replica of its version takes requests."""
    return not any(
        one.version == status.version
        and (one.instance, one.node) != (status.instance, status.node)
        and one.state is InstanceState.READY
        and not _is_settling(deployment, one, now_ns)
        for one in deployment.instances
    )


def _is_settling(deployment: Deployment, status: InstanceStatus, now_ns: int) -> bool:
    """Whether what it reports may still be of the process that was taken out."""
    found = serving.replica_of(status)
    last = None if found is None else latest(deployment, version=found[0], replica=found[1], node=status.node)
    if last is None or now_ns - last.quarantine_time_ns >= SETTLING_NS:
        return False
    return status.update_time_ns <= last.quarantine_time_ns


def latest(deployment: Deployment, *, version: str, replica: int, node: str) -> Quarantine | None:
    """The last time that this was done to a replica on a node."""
    found = (one for one in deployment.quarantines if (one.version, one.replica, one.node) == (version, replica, node))
    return next(found, None)


def added(deployment: Deployment, quarantine: Quarantine) -> tuple[Quarantine, ...]:
    """Those to remember: the last of each replica on each node, of versions that are deployed."""
    place = quarantine.version, quarantine.replica, quarantine.node
    others: Sequence[Quarantine] = [
        one
        for one in deployment.quarantines
        if (one.version, one.replica, one.node) != place and one.version in deployment.versions
    ]
    return (*others, quarantine)[-KEPT:]
