import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from penstock.registry.v1 import resources_pb2 as _resources_pb2
from penstock.registry.v1 import rollout_service_pb2 as _rollout_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Source(_message.Message):
    __slots__ = ("name", "model", "folder", "bucket", "mlflow", "dvc", "wandb", "poll_duration", "settle_duration", "check_duration", "trust", "format", "manifest", "plan", "is_paused", "state", "state_reason", "revision", "version", "check_time", "events", "create_time", "update_time", "creator", "etag")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Source.State]
        STATE_WATCHING: _ClassVar[Source.State]
        STATE_BRINGING: _ClassVar[Source.State]
        STATE_FAILING: _ClassVar[Source.State]
        STATE_PAUSED: _ClassVar[Source.State]
    STATE_UNSPECIFIED: Source.State
    STATE_WATCHING: Source.State
    STATE_BRINGING: Source.State
    STATE_FAILING: Source.State
    STATE_PAUSED: Source.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    MLFLOW_FIELD_NUMBER: _ClassVar[int]
    DVC_FIELD_NUMBER: _ClassVar[int]
    WANDB_FIELD_NUMBER: _ClassVar[int]
    POLL_DURATION_FIELD_NUMBER: _ClassVar[int]
    SETTLE_DURATION_FIELD_NUMBER: _ClassVar[int]
    CHECK_DURATION_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    IS_PAUSED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHECK_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    folder: FolderLocation
    bucket: BucketLocation
    mlflow: MlflowLocation
    dvc: DvcLocation
    wandb: WandbLocation
    poll_duration: _duration_pb2.Duration
    settle_duration: _duration_pb2.Duration
    check_duration: _duration_pb2.Duration
    trust: SourceTrust
    format: str
    manifest: _resources_pb2.Manifest
    plan: _rollout_service_pb2.RolloutPlan
    is_paused: bool
    state: Source.State
    state_reason: str
    revision: str
    version: str
    check_time: _timestamp_pb2.Timestamp
    events: _containers.RepeatedCompositeFieldContainer[SourceEvent]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    creator: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., folder: _Optional[_Union[FolderLocation, _Mapping]] = ..., bucket: _Optional[_Union[BucketLocation, _Mapping]] = ..., mlflow: _Optional[_Union[MlflowLocation, _Mapping]] = ..., dvc: _Optional[_Union[DvcLocation, _Mapping]] = ..., wandb: _Optional[_Union[WandbLocation, _Mapping]] = ..., poll_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., settle_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., check_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., trust: _Optional[_Union[SourceTrust, _Mapping]] = ..., format: _Optional[str] = ..., manifest: _Optional[_Union[_resources_pb2.Manifest, _Mapping]] = ..., plan: _Optional[_Union[_rollout_service_pb2.RolloutPlan, _Mapping]] = ..., is_paused: _Optional[bool] = ..., state: _Optional[_Union[Source.State, str]] = ..., state_reason: _Optional[str] = ..., revision: _Optional[str] = ..., version: _Optional[str] = ..., check_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., events: _Optional[_Iterable[_Union[SourceEvent, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., creator: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class FolderLocation(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class BucketLocation(_message.Message):
    __slots__ = ("uri",)
    URI_FIELD_NUMBER: _ClassVar[int]
    uri: str
    def __init__(self, uri: _Optional[str] = ...) -> None: ...

class MlflowLocation(_message.Message):
    __slots__ = ("tracking_uri", "registered_model", "alias")
    TRACKING_URI_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    tracking_uri: str
    registered_model: str
    alias: str
    def __init__(self, tracking_uri: _Optional[str] = ..., registered_model: _Optional[str] = ..., alias: _Optional[str] = ...) -> None: ...

class DvcLocation(_message.Message):
    __slots__ = ("repository", "path", "revision")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    repository: str
    path: str
    revision: str
    def __init__(self, repository: _Optional[str] = ..., path: _Optional[str] = ..., revision: _Optional[str] = ...) -> None: ...

class WandbLocation(_message.Message):
    __slots__ = ("path", "artifact")
    PATH_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    path: str
    artifact: str
    def __init__(self, path: _Optional[str] = ..., artifact: _Optional[str] = ...) -> None: ...

class SourceTrust(_message.Message):
    __slots__ = ("is_trusted", "is_signature_required", "key_set")
    IS_TRUSTED_FIELD_NUMBER: _ClassVar[int]
    IS_SIGNATURE_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    KEY_SET_FIELD_NUMBER: _ClassVar[int]
    is_trusted: bool
    is_signature_required: bool
    key_set: str
    def __init__(self, is_trusted: _Optional[bool] = ..., is_signature_required: _Optional[bool] = ..., key_set: _Optional[str] = ...) -> None: ...

class SourceEvent(_message.Message):
    __slots__ = ("event_time", "text", "revision", "version", "rollout", "is_failure")
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    IS_FAILURE_FIELD_NUMBER: _ClassVar[int]
    event_time: _timestamp_pb2.Timestamp
    text: str
    revision: str
    version: str
    rollout: str
    is_failure: bool
    def __init__(self, event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., text: _Optional[str] = ..., revision: _Optional[str] = ..., version: _Optional[str] = ..., rollout: _Optional[str] = ..., is_failure: _Optional[bool] = ...) -> None: ...

class CreateSourceRequest(_message.Message):
    __slots__ = ("source_id", "source", "request_id")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    source: Source
    request_id: str
    def __init__(self, source_id: _Optional[str] = ..., source: _Optional[_Union[Source, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class GetSourceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class ListSourcesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSourcesResponse(_message.Message):
    __slots__ = ("sources", "next_page_token")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    next_page_token: str
    def __init__(self, sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateSourceRequest(_message.Message):
    __slots__ = ("source", "update_mask")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    source: Source
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class DeleteSourceRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteSourceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckSourceRequest(_message.Message):
    __slots__ = ("name", "is_forced")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_FORCED_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_forced: bool
    def __init__(self, name: _Optional[str] = ..., is_forced: _Optional[bool] = ...) -> None: ...

class CheckSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...
