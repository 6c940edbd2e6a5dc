import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from penstock.monitor.v1 import monitor_service_pb2 as _monitor_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_PROMOTE: _ClassVar[Decision]
    DECISION_CONTINUE: _ClassVar[Decision]
    DECISION_HOLD: _ClassVar[Decision]
    DECISION_ROLL_BACK: _ClassVar[Decision]

class ComparisonMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARISON_MODE_UNSPECIFIED: _ClassVar[ComparisonMode]
    COMPARISON_MODE_SPLIT: _ClassVar[ComparisonMode]
    COMPARISON_MODE_SHADOW: _ClassVar[ComparisonMode]
DECISION_UNSPECIFIED: Decision
DECISION_PROMOTE: Decision
DECISION_CONTINUE: Decision
DECISION_HOLD: Decision
DECISION_ROLL_BACK: Decision
COMPARISON_MODE_UNSPECIFIED: ComparisonMode
COMPARISON_MODE_SPLIT: ComparisonMode
COMPARISON_MODE_SHADOW: ComparisonMode

class Guardrail(_message.Message):
    __slots__ = ("signal", "phase", "level", "margin", "margin_duration", "tolerance", "proof")
    class Signal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SIGNAL_UNSPECIFIED: _ClassVar[Guardrail.Signal]
        SIGNAL_ERROR_RATE: _ClassVar[Guardrail.Signal]
        SIGNAL_LATENCY: _ClassVar[Guardrail.Signal]
        SIGNAL_CONFIDENCE: _ClassVar[Guardrail.Signal]
        SIGNAL_CLASS_MIX: _ClassVar[Guardrail.Signal]
        SIGNAL_NONFINITE: _ClassVar[Guardrail.Signal]
        SIGNAL_ACCURACY: _ClassVar[Guardrail.Signal]
        SIGNAL_PAIRED_ERRORS: _ClassVar[Guardrail.Signal]
        SIGNAL_DISAGREEMENT: _ClassVar[Guardrail.Signal]
    SIGNAL_UNSPECIFIED: Guardrail.Signal
    SIGNAL_ERROR_RATE: Guardrail.Signal
    SIGNAL_LATENCY: Guardrail.Signal
    SIGNAL_CONFIDENCE: Guardrail.Signal
    SIGNAL_CLASS_MIX: Guardrail.Signal
    SIGNAL_NONFINITE: Guardrail.Signal
    SIGNAL_ACCURACY: Guardrail.Signal
    SIGNAL_PAIRED_ERRORS: Guardrail.Signal
    SIGNAL_DISAGREEMENT: Guardrail.Signal
    class Proof(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PROOF_UNSPECIFIED: _ClassVar[Guardrail.Proof]
        PROOF_ALWAYS: _ClassVar[Guardrail.Proof]
        PROOF_IF_SEEN: _ClassVar[Guardrail.Proof]
        PROOF_NEVER: _ClassVar[Guardrail.Proof]
    PROOF_UNSPECIFIED: Guardrail.Proof
    PROOF_ALWAYS: Guardrail.Proof
    PROOF_IF_SEEN: Guardrail.Proof
    PROOF_NEVER: Guardrail.Proof
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    MARGIN_DURATION_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    signal: Guardrail.Signal
    phase: _monitor_service_pb2.Phase
    level: float
    margin: float
    margin_duration: _duration_pb2.Duration
    tolerance: _wrappers_pb2.DoubleValue
    proof: Guardrail.Proof
    def __init__(self, signal: _Optional[_Union[Guardrail.Signal, str]] = ..., phase: _Optional[_Union[_monitor_service_pb2.Phase, str]] = ..., level: _Optional[float] = ..., margin: _Optional[float] = ..., margin_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tolerance: _Optional[_Union[_wrappers_pb2.DoubleValue, _Mapping]] = ..., proof: _Optional[_Union[Guardrail.Proof, str]] = ...) -> None: ...

class CompareVersionsRequest(_message.Message):
    __slots__ = ("comparison_id", "model", "candidate", "baseline", "mode", "weight", "start_time", "duration", "min_request_count", "min_duration", "alpha", "guardrails", "is_drawn", "is_partial")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_DURATION_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    IS_DRAWN_FIELD_NUMBER: _ClassVar[int]
    IS_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    model: str
    candidate: str
    baseline: str
    mode: ComparisonMode
    weight: float
    start_time: _timestamp_pb2.Timestamp
    duration: _duration_pb2.Duration
    min_request_count: int
    min_duration: _duration_pb2.Duration
    alpha: float
    guardrails: _containers.RepeatedCompositeFieldContainer[Guardrail]
    is_drawn: bool
    is_partial: bool
    def __init__(self, comparison_id: _Optional[str] = ..., model: _Optional[str] = ..., candidate: _Optional[str] = ..., baseline: _Optional[str] = ..., mode: _Optional[_Union[ComparisonMode, str]] = ..., weight: _Optional[float] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_request_count: _Optional[int] = ..., min_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., alpha: _Optional[float] = ..., guardrails: _Optional[_Iterable[_Union[Guardrail, _Mapping]]] = ..., is_drawn: _Optional[bool] = ..., is_partial: _Optional[bool] = ...) -> None: ...

class CompareVersionsResponse(_message.Message):
    __slots__ = ("comparison",)
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    comparison: Comparison
    def __init__(self, comparison: _Optional[_Union[Comparison, _Mapping]] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("name", "model", "candidate", "baseline", "mode", "weight", "start_time", "deadline_time", "min_request_count", "min_duration", "alpha", "decision", "reason", "is_final", "evidence", "split", "candidate_request_count", "baseline_request_count", "observed_duration", "uncompared_duration", "unseen_duration", "restart_count", "late_count", "is_drawn")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_TIME_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_DURATION_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    BASELINE_REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_DURATION_FIELD_NUMBER: _ClassVar[int]
    UNCOMPARED_DURATION_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_DURATION_FIELD_NUMBER: _ClassVar[int]
    RESTART_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_DRAWN_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    candidate: str
    baseline: str
    mode: ComparisonMode
    weight: float
    start_time: _timestamp_pb2.Timestamp
    deadline_time: _timestamp_pb2.Timestamp
    min_request_count: int
    min_duration: _duration_pb2.Duration
    alpha: float
    decision: Decision
    reason: str
    is_final: bool
    evidence: _containers.RepeatedCompositeFieldContainer[GuardrailEvidence]
    split: SplitEvidence
    candidate_request_count: int
    baseline_request_count: int
    observed_duration: _duration_pb2.Duration
    uncompared_duration: _duration_pb2.Duration
    unseen_duration: _duration_pb2.Duration
    restart_count: int
    late_count: int
    is_drawn: bool
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., candidate: _Optional[str] = ..., baseline: _Optional[str] = ..., mode: _Optional[_Union[ComparisonMode, str]] = ..., weight: _Optional[float] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., min_request_count: _Optional[int] = ..., min_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., alpha: _Optional[float] = ..., decision: _Optional[_Union[Decision, str]] = ..., reason: _Optional[str] = ..., is_final: _Optional[bool] = ..., evidence: _Optional[_Iterable[_Union[GuardrailEvidence, _Mapping]]] = ..., split: _Optional[_Union[SplitEvidence, _Mapping]] = ..., candidate_request_count: _Optional[int] = ..., baseline_request_count: _Optional[int] = ..., observed_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., uncompared_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., unseen_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., restart_count: _Optional[int] = ..., late_count: _Optional[int] = ..., is_drawn: _Optional[bool] = ...) -> None: ...

class GuardrailEvidence(_message.Message):
    __slots__ = ("guardrail", "key", "summary", "candidate_count", "baseline_count", "candidate", "baseline", "change_low", "change_high", "harm_log_evalue", "harm_log_evalue_needed", "safety_log_evalue", "safety_log_evalue_needed", "is_harmed", "is_safe", "is_blocking", "fixed_horizon")
    GUARDRAIL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BASELINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_LOW_FIELD_NUMBER: _ClassVar[int]
    CHANGE_HIGH_FIELD_NUMBER: _ClassVar[int]
    HARM_LOG_EVALUE_FIELD_NUMBER: _ClassVar[int]
    HARM_LOG_EVALUE_NEEDED_FIELD_NUMBER: _ClassVar[int]
    SAFETY_LOG_EVALUE_FIELD_NUMBER: _ClassVar[int]
    SAFETY_LOG_EVALUE_NEEDED_FIELD_NUMBER: _ClassVar[int]
    IS_HARMED_FIELD_NUMBER: _ClassVar[int]
    IS_SAFE_FIELD_NUMBER: _ClassVar[int]
    IS_BLOCKING_FIELD_NUMBER: _ClassVar[int]
    FIXED_HORIZON_FIELD_NUMBER: _ClassVar[int]
    guardrail: Guardrail
    key: str
    summary: str
    candidate_count: int
    baseline_count: int
    candidate: EstimatedFigure
    baseline: EstimatedFigure
    change_low: float
    change_high: float
    harm_log_evalue: float
    harm_log_evalue_needed: float
    safety_log_evalue: float
    safety_log_evalue_needed: float
    is_harmed: bool
    is_safe: bool
    is_blocking: bool
    fixed_horizon: FixedHorizonTests
    def __init__(self, guardrail: _Optional[_Union[Guardrail, _Mapping]] = ..., key: _Optional[str] = ..., summary: _Optional[str] = ..., candidate_count: _Optional[int] = ..., baseline_count: _Optional[int] = ..., candidate: _Optional[_Union[EstimatedFigure, _Mapping]] = ..., baseline: _Optional[_Union[EstimatedFigure, _Mapping]] = ..., change_low: _Optional[float] = ..., change_high: _Optional[float] = ..., harm_log_evalue: _Optional[float] = ..., harm_log_evalue_needed: _Optional[float] = ..., safety_log_evalue: _Optional[float] = ..., safety_log_evalue_needed: _Optional[float] = ..., is_harmed: _Optional[bool] = ..., is_safe: _Optional[bool] = ..., is_blocking: _Optional[bool] = ..., fixed_horizon: _Optional[_Union[FixedHorizonTests, _Mapping]] = ...) -> None: ...

class EstimatedFigure(_message.Message):
    __slots__ = ("value", "low", "high")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class FixedHorizonTests(_message.Message):
    __slots__ = ("mann_whitney_p", "kolmogorov_smirnov_p")
    MANN_WHITNEY_P_FIELD_NUMBER: _ClassVar[int]
    KOLMOGOROV_SMIRNOV_P_FIELD_NUMBER: _ClassVar[int]
    mann_whitney_p: float
    kolmogorov_smirnov_p: float
    def __init__(self, mann_whitney_p: _Optional[float] = ..., kolmogorov_smirnov_p: _Optional[float] = ...) -> None: ...

class SplitEvidence(_message.Message):
    __slots__ = ("is_checked", "expected_share", "seen_share", "request_count", "log_evalue", "is_broken")
    IS_CHECKED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SHARE_FIELD_NUMBER: _ClassVar[int]
    SEEN_SHARE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOG_EVALUE_FIELD_NUMBER: _ClassVar[int]
    IS_BROKEN_FIELD_NUMBER: _ClassVar[int]
    is_checked: bool
    expected_share: float
    seen_share: float
    request_count: int
    log_evalue: float
    is_broken: bool
    def __init__(self, is_checked: _Optional[bool] = ..., expected_share: _Optional[float] = ..., seen_share: _Optional[float] = ..., request_count: _Optional[int] = ..., log_evalue: _Optional[float] = ..., is_broken: _Optional[bool] = ...) -> None: ...

class GetComparisonRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetComparisonResponse(_message.Message):
    __slots__ = ("comparison",)
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    comparison: Comparison
    def __init__(self, comparison: _Optional[_Union[Comparison, _Mapping]] = ...) -> None: ...

class ListComparisonsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListComparisonsResponse(_message.Message):
    __slots__ = ("comparisons", "next_page_token")
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    comparisons: _containers.RepeatedCompositeFieldContainer[Comparison]
    next_page_token: str
    def __init__(self, comparisons: _Optional[_Iterable[_Union[Comparison, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchComparisonRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchComparisonResponse(_message.Message):
    __slots__ = ("comparison",)
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    comparison: Comparison
    def __init__(self, comparison: _Optional[_Union[Comparison, _Mapping]] = ...) -> None: ...

class StopComparisonRequest(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class StopComparisonResponse(_message.Message):
    __slots__ = ("comparison",)
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    comparison: Comparison
    def __init__(self, comparison: _Optional[_Union[Comparison, _Mapping]] = ...) -> None: ...

class RecordPairsRequest(_message.Message):
    __slots__ = ("name", "pair_count", "candidate_failed_count", "baseline_failed_count", "differing_count", "largest_batch_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAIR_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_COUNT_FIELD_NUMBER: _ClassVar[int]
    LARGEST_BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    pair_count: int
    candidate_failed_count: int
    baseline_failed_count: int
    differing_count: int
    largest_batch_count: int
    def __init__(self, name: _Optional[str] = ..., pair_count: _Optional[int] = ..., candidate_failed_count: _Optional[int] = ..., baseline_failed_count: _Optional[int] = ..., differing_count: _Optional[int] = ..., largest_batch_count: _Optional[int] = ...) -> None: ...

class RecordPairsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
