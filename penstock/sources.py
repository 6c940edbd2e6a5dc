"""The part of the Python client for places that bring new versions by themselves, and for where versions are from.

>>> with Client() as client:  # doctest: +SKIP
...     client.sources.add("digits-prod", "digits", sources.mlflow("http://mlflow:5000", "digits", alias="champion"))
...     print(client.sources.get("digits-prod").state_reason)
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from penstock.channels import Channel
from penstock.lineage import Ancestor, ancestry
from penstock.registry.v1 import source_service_pb2 as pb
from penstock.registry.v1.resources_pb2 import Manifest
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from penstock.registry.v1.source_service_pb2 import (
    BucketLocation,
    DvcLocation,
    FolderLocation,
    MlflowLocation,
    Source,
    SourceTrust,
    WandbLocation,
)
from penstock.registry.v1.source_service_pb2_grpc import SourceServiceStub

Location = FolderLocation | BucketLocation | MlflowLocation | DvcLocation | WandbLocation

_FIELDS: dict[type, str] = {
    FolderLocation: "folder",
    BucketLocation: "bucket",
    MlflowLocation: "mlflow",
    DvcLocation: "dvc",
    WandbLocation: "wandb",
}


def folder(path: str) -> FolderLocation:
    """A folder of the registry's machine; where it holds folders named by numbers, the highest counts."""
    return FolderLocation(path=path)


def bucket(uri: str) -> BucketLocation:
    """Objects below ``s3://BUCKET/PREFIX`` or ``gs://BUCKET/PREFIX``."""
    return BucketLocation(uri=uri)


def mlflow(tracking_uri: str, registered_model: str, *, alias: str = "champion") -> MlflowLocation:
    """The version of a registered MLflow model that an alias names."""
    return MlflowLocation(tracking_uri=tracking_uri, registered_model=registered_model, alias=alias)


def dvc(repository: str, path: str, *, revision: str = "") -> DvcLocation:
    """A path that DVC tracks, as of a revision of its Git repository; by default its last commit."""
    return DvcLocation(repository=repository, path=path, revision=revision)


def wandb(path: str, *, artifact: str = "") -> WandbLocation:
    """An artifact in a folder of offline runs, or one that was downloaded; by default the last one of type "model"."""
    return WandbLocation(path=path, artifact=artifact)


class SourceClient:
    """Asks the registry."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._registry = SourceServiceStub(channel.grpc)

    def add(
        self,
        source: str,
        model: str,
        location: Location,
        *,
        poll_s: float = 30.0,
        settle_s: float = 2.0,
        check_s: float = 600.0,
        trust: SourceTrust | None = None,
        format: str = "",  # noqa: A002 - the API's word
        manifest: Manifest | None = None,
        plan: RolloutPlan | None = None,
        is_paused: bool = False,
    ) -> Source:
        """Have a place watched every ``poll_s`` seconds for versions of a model, which is created if need be.

        What is found is taken once it has not changed for ``settle_s`` seconds. ``plan`` is how a new version comes to
        the traffic, the first one by deployment; without one, that is left to you.

        Raises:
            AlreadyExistsError: there is a source of this name.
            InvalidArgumentError: there is no such place.
        """
        wanted = Source(
            model=f"models/{model}",
            poll_duration=_duration(poll_s),
            settle_duration=_duration(settle_s),
            check_duration=_duration(check_s),
            trust=trust,
            format=format,
            manifest=manifest,
            plan=plan,
            is_paused=is_paused,
        )
        getattr(wanted, _FIELDS[type(location)]).CopyFrom(location)
        request = pb.CreateSourceRequest(source_id=source, source=wanted, request_id=str(uuid.uuid4()))
        return self._channel.call(self._registry.CreateSource, request).source

    def get(self, source: str) -> Source:
        """One source, with what happened to it."""
        return self._channel.call(self._registry.GetSource, pb.GetSourceRequest(name=_name(source))).source

    def list(self) -> Sequence[Source]:
        """All sources by name, without what happened to them."""
        return self._channel.pages(self._registry.ListSources, pb.ListSourcesRequest(), "sources")

    def pause(self, source: str, *, is_paused: bool = True) -> Source:
        """Look at a place no more for now, or again."""
        wanted = Source(name=_name(source), is_paused=is_paused)
        request = pb.UpdateSourceRequest(source=wanted, update_mask=FieldMask(paths=["is_paused"]))
        return self._channel.call(self._registry.UpdateSource, request).source

    def update(self, source: Source, *paths: str) -> Source:
        """Write fields of a source that was read, and changed here; none named means all.

        Raises:
            AbortedError: it has been changed since it was read.
        """
        request = pb.UpdateSourceRequest(source=source, update_mask=FieldMask(paths=paths))
        return self._channel.call(self._registry.UpdateSource, request).source

    def check(self, source: str, *, is_forced: bool = False) -> Source:
        """Have a place looked at now. Returns what came of it, or after 20 seconds how far it is.

        ``is_forced`` takes anew what was rejected before.
        """
        request = pb.CheckSourceRequest(name=_name(source), is_forced=is_forced)
        return self._channel.call(self._registry.CheckSource, request, timeout_s=60.0).source

    def remove(self, source: str) -> None:
        """Watch a place no more. What it brought stays."""
        self._channel.call(self._registry.DeleteSource, pb.DeleteSourceRequest(name=_name(source)))

    def lineage(self, version: str) -> Sequence[Ancestor]:
        """A version, given by its resource name, and all that it is from, each with its rollouts; itself first."""
        return ancestry(self._channel, version)


def _name(source: str) -> str:
    return f"sources/{source.removeprefix('sources/')}"


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message
