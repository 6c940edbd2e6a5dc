import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from penstock.monitor.v1 import monitor_service_pb2 as _monitor_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Action(_message.Message):
    __slots__ = ("name", "kind", "outcome", "policy", "incident", "model", "version", "target", "reason", "detail", "create_time", "end_time")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Action.Kind]
        KIND_HOLD: _ClassVar[Action.Kind]
        KIND_ROLL_BACK: _ClassVar[Action.Kind]
        KIND_QUARANTINE: _ClassVar[Action.Kind]
        KIND_RETRAIN: _ClassVar[Action.Kind]
    KIND_UNSPECIFIED: Action.Kind
    KIND_HOLD: Action.Kind
    KIND_ROLL_BACK: Action.Kind
    KIND_QUARANTINE: Action.Kind
    KIND_RETRAIN: Action.Kind
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Action.Outcome]
        OUTCOME_PENDING: _ClassVar[Action.Outcome]
        OUTCOME_DONE: _ClassVar[Action.Outcome]
        OUTCOME_REFUSED: _ClassVar[Action.Outcome]
        OUTCOME_DRY_RUN: _ClassVar[Action.Outcome]
    OUTCOME_UNSPECIFIED: Action.Outcome
    OUTCOME_PENDING: Action.Outcome
    OUTCOME_DONE: Action.Outcome
    OUTCOME_REFUSED: Action.Outcome
    OUTCOME_DRY_RUN: Action.Outcome
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: Action.Kind
    outcome: Action.Outcome
    policy: str
    incident: str
    model: str
    version: str
    target: str
    reason: str
    detail: str
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[Action.Kind, str]] = ..., outcome: _Optional[_Union[Action.Outcome, str]] = ..., policy: _Optional[str] = ..., incident: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., target: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "action", "mode", "models", "signals", "causes", "severities", "min_age_duration", "cool_down_duration", "max_actions", "retraining")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[Policy.Mode]
        MODE_ON: _ClassVar[Policy.Mode]
        MODE_DRY_RUN: _ClassVar[Policy.Mode]
        MODE_OFF: _ClassVar[Policy.Mode]
    MODE_UNSPECIFIED: Policy.Mode
    MODE_ON: Policy.Mode
    MODE_DRY_RUN: Policy.Mode
    MODE_OFF: Policy.Mode
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    SEVERITIES_FIELD_NUMBER: _ClassVar[int]
    MIN_AGE_DURATION_FIELD_NUMBER: _ClassVar[int]
    COOL_DOWN_DURATION_FIELD_NUMBER: _ClassVar[int]
    MAX_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    RETRAINING_FIELD_NUMBER: _ClassVar[int]
    name: str
    action: Action.Kind
    mode: Policy.Mode
    models: _containers.RepeatedScalarFieldContainer[str]
    signals: _containers.RepeatedScalarFieldContainer[_monitor_service_pb2.Incident.Signal]
    causes: _containers.RepeatedScalarFieldContainer[_monitor_service_pb2.Incident.Cause]
    severities: _containers.RepeatedScalarFieldContainer[_monitor_service_pb2.Incident.Severity]
    min_age_duration: _duration_pb2.Duration
    cool_down_duration: _duration_pb2.Duration
    max_actions: int
    retraining: str
    def __init__(self, name: _Optional[str] = ..., action: _Optional[_Union[Action.Kind, str]] = ..., mode: _Optional[_Union[Policy.Mode, str]] = ..., models: _Optional[_Iterable[str]] = ..., signals: _Optional[_Iterable[_Union[_monitor_service_pb2.Incident.Signal, str]]] = ..., causes: _Optional[_Iterable[_Union[_monitor_service_pb2.Incident.Cause, str]]] = ..., severities: _Optional[_Iterable[_Union[_monitor_service_pb2.Incident.Severity, str]]] = ..., min_age_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cool_down_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_actions: _Optional[int] = ..., retraining: _Optional[str] = ...) -> None: ...

class Retraining(_message.Message):
    __slots__ = ("name", "model", "state", "detail", "policy", "incident", "runner", "request_json", "output_tail", "model_version", "rollout", "create_time", "heartbeat_time", "deadline_time", "end_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Retraining.State]
        STATE_STARTING: _ClassVar[Retraining.State]
        STATE_RUNNING: _ClassVar[Retraining.State]
        STATE_IMPORTING: _ClassVar[Retraining.State]
        STATE_ROLLING_OUT: _ClassVar[Retraining.State]
        STATE_SUCCEEDED: _ClassVar[Retraining.State]
        STATE_FAILED: _ClassVar[Retraining.State]
    STATE_UNSPECIFIED: Retraining.State
    STATE_STARTING: Retraining.State
    STATE_RUNNING: Retraining.State
    STATE_IMPORTING: Retraining.State
    STATE_ROLLING_OUT: Retraining.State
    STATE_SUCCEEDED: Retraining.State
    STATE_FAILED: Retraining.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_FIELD_NUMBER: _ClassVar[int]
    RUNNER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_JSON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TAIL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    state: Retraining.State
    detail: str
    policy: str
    incident: str
    runner: str
    request_json: str
    output_tail: str
    model_version: str
    rollout: str
    create_time: _timestamp_pb2.Timestamp
    heartbeat_time: _timestamp_pb2.Timestamp
    deadline_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., state: _Optional[_Union[Retraining.State, str]] = ..., detail: _Optional[str] = ..., policy: _Optional[str] = ..., incident: _Optional[str] = ..., runner: _Optional[str] = ..., request_json: _Optional[str] = ..., output_tail: _Optional[str] = ..., model_version: _Optional[str] = ..., rollout: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., heartbeat_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListActionsRequest(_message.Message):
    __slots__ = ("model", "incident", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    incident: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., incident: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListActionsResponse(_message.Message):
    __slots__ = ("actions", "next_page_token")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedCompositeFieldContainer[Action]
    next_page_token: str
    def __init__(self, actions: _Optional[_Iterable[_Union[Action, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetActionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetActionResponse(_message.Message):
    __slots__ = ("action",)
    ACTION_FIELD_NUMBER: _ClassVar[int]
    action: Action
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    next_page_token: str
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CheckPoliciesRequest(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: str
    def __init__(self, content: _Optional[str] = ...) -> None: ...

class CheckPoliciesResponse(_message.Message):
    __slots__ = ("policies",)
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ...) -> None: ...

class ListRetrainingsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRetrainingsResponse(_message.Message):
    __slots__ = ("retrainings", "next_page_token")
    RETRAININGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    retrainings: _containers.RepeatedCompositeFieldContainer[Retraining]
    next_page_token: str
    def __init__(self, retrainings: _Optional[_Iterable[_Union[Retraining, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetRetrainingRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetRetrainingResponse(_message.Message):
    __slots__ = ("retraining",)
    RETRAINING_FIELD_NUMBER: _ClassVar[int]
    retraining: Retraining
    def __init__(self, retraining: _Optional[_Union[Retraining, _Mapping]] = ...) -> None: ...

class ReportRetrainingRequest(_message.Message):
    __slots__ = ("name", "token", "progress", "detail", "model_version")
    class Progress(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PROGRESS_UNSPECIFIED: _ClassVar[ReportRetrainingRequest.Progress]
        PROGRESS_RUNNING: _ClassVar[ReportRetrainingRequest.Progress]
        PROGRESS_DONE: _ClassVar[ReportRetrainingRequest.Progress]
        PROGRESS_FAILED: _ClassVar[ReportRetrainingRequest.Progress]
    PROGRESS_UNSPECIFIED: ReportRetrainingRequest.Progress
    PROGRESS_RUNNING: ReportRetrainingRequest.Progress
    PROGRESS_DONE: ReportRetrainingRequest.Progress
    PROGRESS_FAILED: ReportRetrainingRequest.Progress
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    token: str
    progress: ReportRetrainingRequest.Progress
    detail: str
    model_version: str
    def __init__(self, name: _Optional[str] = ..., token: _Optional[str] = ..., progress: _Optional[_Union[ReportRetrainingRequest.Progress, str]] = ..., detail: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class ReportRetrainingResponse(_message.Message):
    __slots__ = ("retraining",)
    RETRAINING_FIELD_NUMBER: _ClassVar[int]
    retraining: Retraining
    def __init__(self, retraining: _Optional[_Union[Retraining, _Mapping]] = ...) -> None: ...

class CancelRetrainingRequest(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelRetrainingResponse(_message.Message):
    __slots__ = ("retraining",)
    RETRAINING_FIELD_NUMBER: _ClassVar[int]
    retraining: Retraining
    def __init__(self, retraining: _Optional[_Union[Retraining, _Mapping]] = ...) -> None: ...
