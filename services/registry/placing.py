"""Where replicas run: what the fleet and the deployments make of it, written down for the agents to follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from services.registry.adapters import artifact_rows
from services.registry.adapters.artifact_rows import Described
from services.registry.adapters.transaction import Transaction
from services.registry.domain import placement, serving
from services.registry.domain.fleet import Fleet, Wanted
from services.registry.domain.resources import Deployment, InstanceState


@dataclass(frozen=True, slots=True)
class Placed:
    """What came of it: ``changed`` are the deployments with other placements than before.

    ``moving`` counts, by node, the replicas that leave it once they serve elsewhere, ``waiting`` those without a node.
    ``homeless`` are the versions that run nowhere, ``is_unmet`` says whether one of them is asked for.
    ``evictions`` counts replicas that made room for others.
    """

    changed: tuple[Deployment, ...]
    moving: Mapping[str, int]
    waiting: int
    homeless: frozenset[str] = frozenset()
    is_unmet: bool = False
    evictions: int = 0


def plan(tx: Transaction, fleet: Fleet, *, writing: Deployment | None = None) -> Placed:
    """Decide, and write nothing. ``writing`` is a deployment as it is about to be."""
    deployments = {one.model: one for one in tx.select(Deployment)}
    if writing is not None:
        deployments[writing.model] = writing
    wanted = _all_wanted(tx, fleet, deployments)
    decided = placement.decide(wanted, fleet)
    changed, moving, waiting, evictions = [], Counter[str](), 0, 0
    for one in deployments.values():
        places = tuple(place for version in one.versions for place in decided[version])
        moving.update(place.node for place in places if place.is_leaving)
        waiting += sum(not place.node for place in places)
        if places != one.placements:
            changed.append(replace(one, placements=places))
            had_place = {(place.version, place.replica) for place in one.placements if place.node}
            evictions += sum(place.is_asleep and (place.version, place.replica) in had_place for place in places)
    homeless = frozenset(one.version for one in wanted if placement.is_homeless(decided[one.version], fleet))
    is_unmet = any(fleet.use(version).asked_s is not None for version in homeless)
    return Placed(tuple(changed), moving, waiting, homeless, is_unmet, evictions)


def elsewhere(tx: Transaction, fleet: Fleet, *, version: str, replica: int) -> str:
    """Another node that can take a replica; "" where there is none."""
    wanted = _all_wanted(tx, fleet, {one.model: one for one in tx.select(Deployment)})
    return placement.elsewhere(wanted, fleet, version=version, number=replica)


def _all_wanted(tx: Transaction, fleet: Fleet, deployments: Mapping[str, Deployment]) -> list[Wanted]:
    files = artifact_rows.describe_versions(tx, deployments.keys())
    return [wanted for one in deployments.values() for wanted in _wanted(one, files, fleet)]


def place(tx: Transaction, fleet: Fleet) -> Placed:
    """Decide, and tell the watchers. Etags stay: nobody's update is to fail for that."""
    placed = plan(tx, fleet)
    for deployment in placed.changed:
        tx.store(deployment)
        tx.announce(deployment)
    return placed


def place_written(tx: Transaction, fleet: Fleet, deployment: Deployment) -> Deployment:
    """A deployment that is about to be written, with its places; what it makes of others' is written down."""
    written = deployment
    for one in plan(tx, fleet, writing=deployment).changed:
        if one.model == deployment.model:
            written = one
        else:
            tx.store(one)
            tx.announce(one)
    return written


def count_replicas(tx: Transaction) -> Counter[str]:
    """How many replicas are placed on each node."""
    return Counter(place.node for one in tx.select(Deployment) for place in one.placements if place.node)


def _wanted(deployment: Deployment, files: Mapping[str, Described], fleet: Fleet) -> Iterator[Wanted]:
    for version in deployment.versions:
        described = files.get(version, Described())
        yield Wanted(
            version=version,
            replicas=deployment.replicas,
            need_bytes=max(described.need_bytes, fleet.resident_bytes.get(version, 0)),
            format=described.format,
            libraries=described.libraries,
            placements=[one for one in deployment.placements if one.version == version],
            ready=_places(deployment, version, InstanceState.READY),
            failing=_places(deployment, version, InstanceState.UNAVAILABLE),
            is_pinned=deployment.pinned or _is_on_trial(deployment, version),
            size_bytes=described.size_bytes,
        )


def _is_on_trial(deployment: Deployment, version: str) -> bool:
    """Whether a rollout needs it loaded, asked for or not: one that sleeps proves nothing, nor has its rival's load."""
    return deployment.split is not None and version in (deployment.split.candidate, deployment.split.baseline)


def _places(deployment: Deployment, version: str, state: InstanceState) -> frozenset[tuple[int, str]]:
    """Number and node of the replicas of a version that are in a state."""
    replicas = ((serving.replica_of(one), one.node) for one in deployment.instances if one.state is state)
    return frozenset((found[1], node) for found, node in replicas if found is not None and found[0] == version)
