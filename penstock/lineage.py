"""Where a version is from, and what became of it: its ancestors, and every rollout that it took part in."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from penstock import errors
from penstock.channels import Channel
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1 import rollout_service_pb2 as rollout_pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import ModelVersion
from penstock.registry.v1.rollout_service_pb2 import Rollout
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub

_MOST = 1_000
"""Ancestors that are looked for: lineages are written by people, and may go in circles."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A version on the way back from another: ``depth`` 0 is that one itself.

    ``relation`` is what it is to the one ``of`` which it is an ancestor: "itself", "parent" (that was made from it) or
    "before" (the same source brought it before). ``version`` has nothing but its name where it was deleted.
    ``rollouts`` are those in which it was the candidate or the baseline, the oldest first.
    """

    version: ModelVersion
    depth: int
    relation: str
    of: str
    rollouts: Sequence[Rollout]

    @property
    def is_deleted(self) -> bool:
        return not self.version.files


def ancestry(channel: Channel, version: str) -> list[Ancestor]:
    """A version, given by its resource name, and all that it is from, depth first.

    Raises:
        NotFoundError: there is no such version.
    """
    stub = RegistryServiceStub(channel.grpc)
    first: ModelVersion = channel.call(stub.GetModelVersion, pb.GetModelVersionRequest(name=version)).model_version
    rollouts: dict[str, list[Rollout]] = {}
    found: dict[str, Ancestor] = {}
    waiting = [(first, 0, "itself", "")]
    while waiting and len(found) < _MOST:
        one, depth, relation, of = waiting.pop()
        if one.name in found:
            continue
        model = one.name.split("/")[1]
        if model not in rollouts:
            rollouts[model] = _rollouts(channel, model)
        own = [rollout for rollout in rollouts[model] if one.name in (rollout.candidate, rollout.baseline)]
        found[one.name] = Ancestor(one, depth, relation, of, own)
        names = {**dict.fromkeys([one.lineage.predecessor], "before"), **dict.fromkeys(one.lineage.parents, "parent")}
        waiting += [(_read(channel, name), depth + 1, what, one.name) for name, what in names.items() if name]
    return list(found.values())


def _read(channel: Channel, name: str) -> ModelVersion:
    """One version, or its bare name where it was deleted."""
    with contextlib.suppress(errors.NotFoundError):
        rpc = RegistryServiceStub(channel.grpc).GetModelVersion
        return channel.call(rpc, pb.GetModelVersionRequest(name=name)).model_version
    return ModelVersion(name=name)


def _rollouts(channel: Channel, model: str) -> list[Rollout]:
    """A model's rollouts, the oldest first."""
    rpc = RolloutServiceStub(channel.grpc).ListRollouts
    try:
        found = channel.pages(rpc, rollout_pb.ListRolloutsRequest(parent=f"deployments/{model}"), "rollouts")
    except (errors.NotFoundError, errors.UnimplementedError):  # never deployed, or a registry that knows none
        return []
    return found[::-1]
