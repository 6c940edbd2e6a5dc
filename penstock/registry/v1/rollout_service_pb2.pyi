import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from penstock.monitor.v1 import verdict_service_pb2 as _verdict_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Rollout(_message.Message):
    __slots__ = ("name", "candidate", "baseline", "plan", "state", "state_reason", "step", "step_start_time", "comparison", "verdict", "events", "create_time", "update_time", "end_time", "retire_time", "creator", "reason", "etag")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Rollout.State]
        STATE_LOADING: _ClassVar[Rollout.State]
        STATE_RUNNING: _ClassVar[Rollout.State]
        STATE_HELD: _ClassVar[Rollout.State]
        STATE_PROMOTED: _ClassVar[Rollout.State]
        STATE_ROLLED_BACK: _ClassVar[Rollout.State]
        STATE_FAILED: _ClassVar[Rollout.State]
    STATE_UNSPECIFIED: Rollout.State
    STATE_LOADING: Rollout.State
    STATE_RUNNING: Rollout.State
    STATE_HELD: Rollout.State
    STATE_PROMOTED: Rollout.State
    STATE_ROLLED_BACK: Rollout.State
    STATE_FAILED: Rollout.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_START_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    candidate: str
    baseline: str
    plan: RolloutPlan
    state: Rollout.State
    state_reason: str
    step: int
    step_start_time: _timestamp_pb2.Timestamp
    comparison: str
    verdict: RolloutVerdict
    events: _containers.RepeatedCompositeFieldContainer[RolloutEvent]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    retire_time: _timestamp_pb2.Timestamp
    creator: str
    reason: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., candidate: _Optional[str] = ..., baseline: _Optional[str] = ..., plan: _Optional[_Union[RolloutPlan, _Mapping]] = ..., state: _Optional[_Union[Rollout.State, str]] = ..., state_reason: _Optional[str] = ..., step: _Optional[int] = ..., step_start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., comparison: _Optional[str] = ..., verdict: _Optional[_Union[RolloutVerdict, _Mapping]] = ..., events: _Optional[_Iterable[_Union[RolloutEvent, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., creator: _Optional[str] = ..., reason: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class RolloutPlan(_message.Message):
    __slots__ = ("strategy", "steps", "sticky_key", "alias", "is_manual", "load_duration", "keep_warm_duration", "guardrails", "alpha", "pair_tolerance")
    class Strategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STRATEGY_UNSPECIFIED: _ClassVar[RolloutPlan.Strategy]
        STRATEGY_ALL_AT_ONCE: _ClassVar[RolloutPlan.Strategy]
        STRATEGY_BLUE_GREEN: _ClassVar[RolloutPlan.Strategy]
        STRATEGY_CANARY: _ClassVar[RolloutPlan.Strategy]
        STRATEGY_SHADOW: _ClassVar[RolloutPlan.Strategy]
        STRATEGY_AB_TEST: _ClassVar[RolloutPlan.Strategy]
    STRATEGY_UNSPECIFIED: RolloutPlan.Strategy
    STRATEGY_ALL_AT_ONCE: RolloutPlan.Strategy
    STRATEGY_BLUE_GREEN: RolloutPlan.Strategy
    STRATEGY_CANARY: RolloutPlan.Strategy
    STRATEGY_SHADOW: RolloutPlan.Strategy
    STRATEGY_AB_TEST: RolloutPlan.Strategy
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STICKY_KEY_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    IS_MANUAL_FIELD_NUMBER: _ClassVar[int]
    LOAD_DURATION_FIELD_NUMBER: _ClassVar[int]
    KEEP_WARM_DURATION_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    PAIR_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    strategy: RolloutPlan.Strategy
    steps: _containers.RepeatedCompositeFieldContainer[RolloutStep]
    sticky_key: str
    alias: str
    is_manual: bool
    load_duration: _duration_pb2.Duration
    keep_warm_duration: _duration_pb2.Duration
    guardrails: _containers.RepeatedCompositeFieldContainer[_verdict_service_pb2.Guardrail]
    alpha: float
    pair_tolerance: float
    def __init__(self, strategy: _Optional[_Union[RolloutPlan.Strategy, str]] = ..., steps: _Optional[_Iterable[_Union[RolloutStep, _Mapping]]] = ..., sticky_key: _Optional[str] = ..., alias: _Optional[str] = ..., is_manual: _Optional[bool] = ..., load_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., keep_warm_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., guardrails: _Optional[_Iterable[_Union[_verdict_service_pb2.Guardrail, _Mapping]]] = ..., alpha: _Optional[float] = ..., pair_tolerance: _Optional[float] = ...) -> None: ...

class RolloutStep(_message.Message):
    __slots__ = ("candidate_share", "shadow_share", "min_request_count", "min_duration", "duration")
    CANDIDATE_SHARE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_SHARE_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_DURATION_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    candidate_share: float
    shadow_share: float
    min_request_count: int
    min_duration: _duration_pb2.Duration
    duration: _duration_pb2.Duration
    def __init__(self, candidate_share: _Optional[float] = ..., shadow_share: _Optional[float] = ..., min_request_count: _Optional[int] = ..., min_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RolloutVerdict(_message.Message):
    __slots__ = ("decision", "reason", "guardrails", "candidate_request_count", "baseline_request_count", "verdict_time")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    BASELINE_REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_TIME_FIELD_NUMBER: _ClassVar[int]
    decision: _verdict_service_pb2.Decision
    reason: str
    guardrails: _containers.RepeatedCompositeFieldContainer[GuardrailSummary]
    candidate_request_count: int
    baseline_request_count: int
    verdict_time: _timestamp_pb2.Timestamp
    def __init__(self, decision: _Optional[_Union[_verdict_service_pb2.Decision, str]] = ..., reason: _Optional[str] = ..., guardrails: _Optional[_Iterable[_Union[GuardrailSummary, _Mapping]]] = ..., candidate_request_count: _Optional[int] = ..., baseline_request_count: _Optional[int] = ..., verdict_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GuardrailSummary(_message.Message):
    __slots__ = ("key", "summary", "is_harmed", "is_safe", "is_blocking")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    IS_HARMED_FIELD_NUMBER: _ClassVar[int]
    IS_SAFE_FIELD_NUMBER: _ClassVar[int]
    IS_BLOCKING_FIELD_NUMBER: _ClassVar[int]
    key: str
    summary: str
    is_harmed: bool
    is_safe: bool
    is_blocking: bool
    def __init__(self, key: _Optional[str] = ..., summary: _Optional[str] = ..., is_harmed: _Optional[bool] = ..., is_safe: _Optional[bool] = ..., is_blocking: _Optional[bool] = ...) -> None: ...

class RolloutEvent(_message.Message):
    __slots__ = ("event_time", "state", "step", "actor", "reason")
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    event_time: _timestamp_pb2.Timestamp
    state: Rollout.State
    step: int
    actor: str
    reason: str
    def __init__(self, event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[Rollout.State, str]] = ..., step: _Optional[int] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CreateRolloutRequest(_message.Message):
    __slots__ = ("parent", "rollout", "request_id", "deployment_etag")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ETAG_FIELD_NUMBER: _ClassVar[int]
    parent: str
    rollout: Rollout
    request_id: str
    deployment_etag: str
    def __init__(self, parent: _Optional[str] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ..., request_id: _Optional[str] = ..., deployment_etag: _Optional[str] = ...) -> None: ...

class CreateRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class GetRolloutRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class ListRolloutsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "is_active")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    is_active: bool
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., is_active: _Optional[bool] = ...) -> None: ...

class ListRolloutsResponse(_message.Message):
    __slots__ = ("rollouts", "next_page_token")
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    rollouts: _containers.RepeatedCompositeFieldContainer[Rollout]
    next_page_token: str
    def __init__(self, rollouts: _Optional[_Iterable[_Union[Rollout, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PromoteRolloutRequest(_message.Message):
    __slots__ = ("name", "etag", "is_whole", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    IS_WHOLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    is_whole: bool
    reason: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., is_whole: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class PromoteRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class HoldRolloutRequest(_message.Message):
    __slots__ = ("name", "etag", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class HoldRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class ResumeRolloutRequest(_message.Message):
    __slots__ = ("name", "etag", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class RollBackRolloutRequest(_message.Message):
    __slots__ = ("name", "etag", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RollBackRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...
