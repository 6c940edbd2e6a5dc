"""Sources as messages of the API, and back."""

from __future__ import annotations

from google.protobuf import json_format

from penstock.registry.v1 import source_service_pb2 as pb
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from services.common.times import duration
from services.registry.adapters.codec.times import nanoseconds, timestamp
from services.registry.adapters.codec.versions import manifest_to_pb
from services.registry.domain import ids
from services.registry.domain.source_progress import Event
from services.registry.domain.sources import Location, Source, SourceTrust

_LOCATIONS = {
    "folder": pb.FolderLocation,
    "bucket": pb.BucketLocation,
    "mlflow": pb.MlflowLocation,
    "dvc": pb.DvcLocation,
    "wandb": pb.WandbLocation,
}


def source_to_pb(source: Source, *, with_events: bool = True) -> pb.Source:
    kind, progress = source.location.kind, source.progress
    message = pb.Source(
        name=source.name,
        model=f"models/{source.model}",
        poll_duration=duration(source.poll_ns),
        settle_duration=duration(source.settle_ns or 0),
        check_duration=duration(source.check_ns),
        trust=pb.SourceTrust(
            is_trusted=source.trust.is_trusted,
            is_signature_required=source.trust.is_signature_required,
            key_set=source.trust.key_set,
        ),
        format=source.format,
        manifest=manifest_to_pb(source.manifest) if source.manifest else None,
        plan=None if source.plan is None else json_format.ParseDict(dict(source.plan), RolloutPlan()),
        is_paused=source.is_paused,
        state=int(source.state),  # type: ignore[arg-type]
        state_reason=source.state_reason,
        revision=progress.revision,
        version=progress.version,
        check_time=timestamp(progress.check_time_ns),
        events=map(_event_to_pb, progress.events) if with_events else (),
        create_time=timestamp(source.create_time_ns),
        update_time=timestamp(source.update_time_ns),
        creator=source.creator,
        etag=source.etag,
    )
    getattr(message, kind).CopyFrom(_LOCATIONS[kind](**source.location.fields))
    return message


def source_from_pb(message: pb.Source, *, source: str, model: str) -> Source:
    """What a caller sets of a source."""
    kind = message.WhichOneof("location")
    fields = {} if kind is None else {one.name: value for one, value in getattr(message, kind).ListFields()}
    return Source(
        id=source,
        model=model,
        location=Location(kind or "", fields),
        poll_ns=nanoseconds(message.poll_duration),
        settle_ns=nanoseconds(message.settle_duration) if message.HasField("settle_duration") else None,
        check_ns=nanoseconds(message.check_duration),
        trust=SourceTrust(message.trust.is_trusted, message.trust.is_signature_required, message.trust.key_set),
        format=ids.check_format(message.format),
        manifest=json_format.MessageToDict(message.manifest) if message.HasField("manifest") else {},
        plan=json_format.MessageToDict(message.plan) if message.HasField("plan") else None,
        is_paused=message.is_paused,
        etag=message.etag,
    )


def plan_to_pb(source: Source) -> RolloutPlan:
    """How a source's versions come to the traffic."""
    return json_format.ParseDict(dict(source.plan or {}), RolloutPlan())


def _event_to_pb(event: Event) -> pb.SourceEvent:
    return pb.SourceEvent(
        event_time=timestamp(event.time_ns),
        text=event.text,
        revision=event.revision,
        version=event.version,
        rollout=event.rollout,
        is_failure=event.is_failure,
    )
