"""Resources as the change log keeps them, and as watchers get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.registry.adapters.codec.deployments import (
    deployment_from_pb,
    deployment_to_pb,
    instance_from_pb,
    placement_from_pb,
    quarantine_from_pb,
)
from services.registry.adapters.codec.models import alias_to_pb, model_from_pb, model_to_pb
from services.registry.adapters.codec.rollouts import created_rollout, rollout_to_pb
from services.registry.adapters.codec.times import nanoseconds
from services.registry.adapters.codec.trust import signing_key_from_pb, signing_key_to_pb, trust_from_pb
from services.registry.adapters.codec.versions import version_from_pb, version_to_pb
from services.registry.domain import ids
from services.registry.domain.changes import Change, Mark
from services.registry.domain.resources import (
    Alias,
    Deployment,
    Model,
    ModelVersion,
    Resource,
    SigningKey,
    VersionState,
)
from services.registry.domain.rollouts import Rollout

R = TypeVar("R", Model, ModelVersion, Deployment, SigningKey, Rollout)


_ENCODERS: dict[type[Resource | Rollout], Callable[[Any], Any]] = {
    Model: model_to_pb,
    ModelVersion: version_to_pb,
    Alias: alias_to_pb,
    Deployment: deployment_to_pb,
    SigningKey: signing_key_to_pb,
    Rollout: rollout_to_pb,
}


def encode(resource: Resource | Rollout) -> bytes:
    """A resource as the change log keeps it; a rollout, which isn't there, as the answer to its creation is kept."""
    return bytes(_ENCODERS[type(resource)](resource).SerializeToString())


def encode_deleted(resource: Resource) -> bytes:
    """What is left of a deleted resource: its name."""
    message = _ENCODERS[type(resource)](resource)
    return bytes(type(message)(name=resource.name).SerializeToString())


def decode(kind: type[R], body: bytes) -> R:
    """The reverse of :func:`encode` for a resource as it was created: without an agent's word on it."""
    return cast("R", _DECODERS[kind](body))


def _created_model(body: bytes) -> Model:
    message = pb.Model.FromString(body)
    created_ns = nanoseconds(message.create_time)
    model = model_from_pb(message, model=ids.parse_model(message.name))
    return replace(model, create_time_ns=created_ns, update_time_ns=created_ns)


def _created_version(body: bytes) -> ModelVersion:
    message = pb.ModelVersion.FromString(body)
    model, number = ids.parse_version(message.name)
    created_ns = nanoseconds(message.create_time)
    version = version_from_pb(message, model=model, number=number)
    return replace(
        version,
        etag=message.etag,
        create_time_ns=created_ns,
        update_time_ns=created_ns,
        state=VersionState(message.state),
        state_reason=message.state_reason,
        trust=trust_from_pb(message.trust),
    )


def _created_deployment(body: bytes) -> Deployment:
    message = pb.Deployment.FromString(body)
    deployment = deployment_from_pb(message, model=ids.parse_deployment(message.name))
    created_ns = nanoseconds(message.create_time)
    return replace(
        deployment,
        instances=tuple(map(instance_from_pb, message.instances)),
        placements=tuple(map(placement_from_pb, message.placements)),
        quarantines=tuple(map(quarantine_from_pb, message.quarantines)),
        create_time_ns=created_ns,
        update_time_ns=created_ns,
    )


def _created_signing_key(body: bytes) -> SigningKey:
    message = pb.SigningKey.FromString(body)
    key_set, key = ids.parse_signing_key(message.name)
    return replace(
        signing_key_from_pb(message, key_set=key_set, key=key),
        fingerprint=message.fingerprint,
        creator=message.creator,
        create_time_ns=nanoseconds(message.create_time),
    )


_DECODERS: dict[type[Resource | Rollout], Callable[[bytes], Resource | Rollout]] = {
    Model: _created_model,
    ModelVersion: _created_version,
    Deployment: _created_deployment,
    SigningKey: _created_signing_key,
    Rollout: created_rollout,
}


def event_to_pb(event: Change | Mark) -> api.WatchResourcesResponse:
    """One message of the watch stream."""
    if isinstance(event, Mark):
        return api.WatchResourcesResponse(revision=event.revision, is_snapshot_end=event.is_snapshot_end)
    message = api.WatchResourcesResponse(revision=event.revision, is_deleted=event.is_deleted)
    resource = getattr(message, event.kind)
    resource.SetInParent()
    resource.MergeFromString(event.body)
    return message
