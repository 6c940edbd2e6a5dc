"""Models and aliases."""

from __future__ import annotations

from penstock.registry.v1 import resources_pb2 as pb
from services.common import names
from services.registry.adapters.codec.times import timestamp
from services.registry.adapters.codec.trust import policy_to_pb
from services.registry.domain.resources import Alias, Model, TrustPolicy


def model_to_pb(model: Model) -> pb.Model:
    return pb.Model(
        name=model.name,
        description=model.description,
        labels=model.labels,
        create_time=timestamp(model.create_time_ns),
        update_time=timestamp(model.update_time_ns),
        etag=model.etag,
        trust_policy=policy_to_pb(model.trust_policy),
    )


def model_from_pb(message: pb.Model, *, model: str) -> Model:
    """What a caller sets of a model."""
    return Model(
        id=model,
        description=message.description,
        labels=dict(message.labels),
        etag=message.etag,
        trust_policy=TrustPolicy(message.trust_policy.key_set),
    )


def alias_to_pb(alias: Alias) -> pb.Alias:
    return pb.Alias(
        name=alias.name,
        version=names.version_name(alias.model, str(alias.version)),
        update_time=timestamp(alias.update_time_ns),
        etag=alias.etag,
    )
