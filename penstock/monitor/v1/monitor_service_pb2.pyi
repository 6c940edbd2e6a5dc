import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_QUEUE: _ClassVar[Phase]
    PHASE_COMPUTE_INPUT: _ClassVar[Phase]
    PHASE_COMPUTE_INFER: _ClassVar[Phase]
    PHASE_COMPUTE_OUTPUT: _ClassVar[Phase]
    PHASE_TOTAL: _ClassVar[Phase]
PHASE_UNSPECIFIED: Phase
PHASE_QUEUE: Phase
PHASE_COMPUTE_INPUT: Phase
PHASE_COMPUTE_INFER: Phase
PHASE_COMPUTE_OUTPUT: Phase
PHASE_TOTAL: Phase

class ListFiguresRequest(_message.Message):
    __slots__ = ("model", "window", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    window: _duration_pb2.Duration
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFiguresResponse(_message.Message):
    __slots__ = ("figures", "next_page_token")
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    figures: _containers.RepeatedCompositeFieldContainer[ModelFigures]
    next_page_token: str
    def __init__(self, figures: _Optional[_Iterable[_Union[ModelFigures, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ModelFigures(_message.Message):
    __slots__ = ("model", "version", "window", "request_count", "error_count", "request_rate", "mean_batch_rows", "execution_count", "phases")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_RATE_FIELD_NUMBER: _ClassVar[int]
    MEAN_BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    window: _duration_pb2.Duration
    request_count: int
    error_count: int
    request_rate: float
    mean_batch_rows: float
    execution_count: int
    phases: _containers.RepeatedCompositeFieldContainer[PhaseFigures]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_count: _Optional[int] = ..., error_count: _Optional[int] = ..., request_rate: _Optional[float] = ..., mean_batch_rows: _Optional[float] = ..., execution_count: _Optional[int] = ..., phases: _Optional[_Iterable[_Union[PhaseFigures, _Mapping]]] = ...) -> None: ...

class PhaseFigures(_message.Message):
    __slots__ = ("phase", "p50_seconds", "p90_seconds", "p99_seconds", "mean_seconds")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P90_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P99_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    phase: Phase
    p50_seconds: float
    p90_seconds: float
    p99_seconds: float
    mean_seconds: float
    def __init__(self, phase: _Optional[_Union[Phase, str]] = ..., p50_seconds: _Optional[float] = ..., p90_seconds: _Optional[float] = ..., p99_seconds: _Optional[float] = ..., mean_seconds: _Optional[float] = ...) -> None: ...

class ListServiceFiguresRequest(_message.Message):
    __slots__ = ("service", "window", "page_size", "page_token")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    service: str
    window: _duration_pb2.Duration
    page_size: int
    page_token: str
    def __init__(self, service: _Optional[str] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListServiceFiguresResponse(_message.Message):
    __slots__ = ("figures", "next_page_token")
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    figures: _containers.RepeatedCompositeFieldContainer[ServiceFigures]
    next_page_token: str
    def __init__(self, figures: _Optional[_Iterable[_Union[ServiceFigures, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ServiceFigures(_message.Message):
    __slots__ = ("service", "operation", "replica", "window", "request_count", "error_count", "request_rate", "p50_seconds", "p90_seconds", "p99_seconds", "mean_seconds")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_RATE_FIELD_NUMBER: _ClassVar[int]
    P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P90_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P99_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    replica: str
    window: _duration_pb2.Duration
    request_count: int
    error_count: int
    request_rate: float
    p50_seconds: float
    p90_seconds: float
    p99_seconds: float
    mean_seconds: float
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., replica: _Optional[str] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_count: _Optional[int] = ..., error_count: _Optional[int] = ..., request_rate: _Optional[float] = ..., p50_seconds: _Optional[float] = ..., p90_seconds: _Optional[float] = ..., p99_seconds: _Optional[float] = ..., mean_seconds: _Optional[float] = ...) -> None: ...

class ListTracesRequest(_message.Message):
    __slots__ = ("model", "has_error", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HAS_ERROR_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    has_error: bool
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., has_error: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTracesResponse(_message.Message):
    __slots__ = ("traces", "next_page_token")
    TRACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    traces: _containers.RepeatedCompositeFieldContainer[Trace]
    next_page_token: str
    def __init__(self, traces: _Optional[_Iterable[_Union[Trace, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTraceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetTraceResponse(_message.Message):
    __slots__ = ("trace",)
    TRACE_FIELD_NUMBER: _ClassVar[int]
    trace: Trace
    def __init__(self, trace: _Optional[_Union[Trace, _Mapping]] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("name", "model", "version", "start_time", "duration", "has_error", "span_count", "spans")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    HAS_ERROR_FIELD_NUMBER: _ClassVar[int]
    SPAN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    version: str
    start_time: _timestamp_pb2.Timestamp
    duration: _duration_pb2.Duration
    has_error: bool
    span_count: int
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., has_error: _Optional[bool] = ..., span_count: _Optional[int] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("span_id", "parent_span_id", "operation", "service", "kind", "start_time", "duration", "has_error", "status_message", "attributes", "linked_trace_ids")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    HAS_ERROR_FIELD_NUMBER: _ClassVar[int]
    STATUS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    LINKED_TRACE_IDS_FIELD_NUMBER: _ClassVar[int]
    span_id: str
    parent_span_id: str
    operation: str
    service: str
    kind: str
    start_time: _timestamp_pb2.Timestamp
    duration: _duration_pb2.Duration
    has_error: bool
    status_message: str
    attributes: _containers.ScalarMap[str, str]
    linked_trace_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, span_id: _Optional[str] = ..., parent_span_id: _Optional[str] = ..., operation: _Optional[str] = ..., service: _Optional[str] = ..., kind: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., has_error: _Optional[bool] = ..., status_message: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., linked_trace_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Incident(_message.Message):
    __slots__ = ("name", "model", "version", "phase", "signal", "state", "summary", "before", "after", "change_time", "open_time", "close_time", "log_evalue", "average_run_length", "traces", "innocent_traces", "replica", "arm", "cause", "severity", "after_interval")
    class Signal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SIGNAL_UNSPECIFIED: _ClassVar[Incident.Signal]
        SIGNAL_ERROR_RATE: _ClassVar[Incident.Signal]
        SIGNAL_LATENCY: _ClassVar[Incident.Signal]
        SIGNAL_QUEUEING: _ClassVar[Incident.Signal]
        SIGNAL_STUCK: _ClassVar[Incident.Signal]
        SIGNAL_DEAD: _ClassVar[Incident.Signal]
        SIGNAL_NONFINITE: _ClassVar[Incident.Signal]
        SIGNAL_CONFIDENCE: _ClassVar[Incident.Signal]
        SIGNAL_ENTROPY: _ClassVar[Incident.Signal]
        SIGNAL_NORM: _ClassVar[Incident.Signal]
        SIGNAL_LENGTH: _ClassVar[Incident.Signal]
        SIGNAL_CLASS_MIX: _ClassVar[Incident.Signal]
        SIGNAL_INPUTS: _ClassVar[Incident.Signal]
        SIGNAL_PROBE: _ClassVar[Incident.Signal]
        SIGNAL_TRACE_SHAPE: _ClassVar[Incident.Signal]
        SIGNAL_ACCURACY: _ClassVar[Incident.Signal]
    SIGNAL_UNSPECIFIED: Incident.Signal
    SIGNAL_ERROR_RATE: Incident.Signal
    SIGNAL_LATENCY: Incident.Signal
    SIGNAL_QUEUEING: Incident.Signal
    SIGNAL_STUCK: Incident.Signal
    SIGNAL_DEAD: Incident.Signal
    SIGNAL_NONFINITE: Incident.Signal
    SIGNAL_CONFIDENCE: Incident.Signal
    SIGNAL_ENTROPY: Incident.Signal
    SIGNAL_NORM: Incident.Signal
    SIGNAL_LENGTH: Incident.Signal
    SIGNAL_CLASS_MIX: Incident.Signal
    SIGNAL_INPUTS: Incident.Signal
    SIGNAL_PROBE: Incident.Signal
    SIGNAL_TRACE_SHAPE: Incident.Signal
    SIGNAL_ACCURACY: Incident.Signal
    class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CAUSE_UNSPECIFIED: _ClassVar[Incident.Cause]
        CAUSE_REPLICA: _ClassVar[Incident.Cause]
        CAUSE_VERSION: _ClassVar[Incident.Cause]
        CAUSE_INPUTS: _ClassVar[Incident.Cause]
        CAUSE_ARRIVALS: _ClassVar[Incident.Cause]
    CAUSE_UNSPECIFIED: Incident.Cause
    CAUSE_REPLICA: Incident.Cause
    CAUSE_VERSION: Incident.Cause
    CAUSE_INPUTS: Incident.Cause
    CAUSE_ARRIVALS: Incident.Cause
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[Incident.Severity]
        SEVERITY_PAGE: _ClassVar[Incident.Severity]
        SEVERITY_TICKET: _ClassVar[Incident.Severity]
    SEVERITY_UNSPECIFIED: Incident.Severity
    SEVERITY_PAGE: Incident.Severity
    SEVERITY_TICKET: Incident.Severity
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Incident.State]
        STATE_OPEN: _ClassVar[Incident.State]
        STATE_CLOSED: _ClassVar[Incident.State]
    STATE_UNSPECIFIED: Incident.State
    STATE_OPEN: Incident.State
    STATE_CLOSED: Incident.State
    class Interval(_message.Message):
        __slots__ = ("low", "high")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        low: float
        high: float
        def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    OPEN_TIME_FIELD_NUMBER: _ClassVar[int]
    CLOSE_TIME_FIELD_NUMBER: _ClassVar[int]
    LOG_EVALUE_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_RUN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    INNOCENT_TRACES_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    AFTER_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    version: str
    phase: Phase
    signal: Incident.Signal
    state: Incident.State
    summary: str
    before: float
    after: float
    change_time: _timestamp_pb2.Timestamp
    open_time: _timestamp_pb2.Timestamp
    close_time: _timestamp_pb2.Timestamp
    log_evalue: float
    average_run_length: float
    traces: _containers.RepeatedScalarFieldContainer[str]
    innocent_traces: _containers.RepeatedScalarFieldContainer[str]
    replica: str
    arm: str
    cause: Incident.Cause
    severity: Incident.Severity
    after_interval: Incident.Interval
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., phase: _Optional[_Union[Phase, str]] = ..., signal: _Optional[_Union[Incident.Signal, str]] = ..., state: _Optional[_Union[Incident.State, str]] = ..., summary: _Optional[str] = ..., before: _Optional[float] = ..., after: _Optional[float] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., open_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., close_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., log_evalue: _Optional[float] = ..., average_run_length: _Optional[float] = ..., traces: _Optional[_Iterable[str]] = ..., innocent_traces: _Optional[_Iterable[str]] = ..., replica: _Optional[str] = ..., arm: _Optional[str] = ..., cause: _Optional[_Union[Incident.Cause, str]] = ..., severity: _Optional[_Union[Incident.Severity, str]] = ..., after_interval: _Optional[_Union[Incident.Interval, _Mapping]] = ...) -> None: ...

class ListIncidentsRequest(_message.Message):
    __slots__ = ("model", "is_open", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IS_OPEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    is_open: bool
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., is_open: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListIncidentsResponse(_message.Message):
    __slots__ = ("incidents", "next_page_token")
    INCIDENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    incidents: _containers.RepeatedCompositeFieldContainer[Incident]
    next_page_token: str
    def __init__(self, incidents: _Optional[_Iterable[_Union[Incident, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetIncidentRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetIncidentResponse(_message.Message):
    __slots__ = ("incident",)
    INCIDENT_FIELD_NUMBER: _ClassVar[int]
    incident: Incident
    def __init__(self, incident: _Optional[_Union[Incident, _Mapping]] = ...) -> None: ...

class ListProbesRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProbesResponse(_message.Message):
    __slots__ = ("probes", "next_page_token")
    PROBES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    probes: _containers.RepeatedCompositeFieldContainer[ReplicaProbe]
    next_page_token: str
    def __init__(self, probes: _Optional[_Iterable[_Union[ReplicaProbe, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ReplicaProbe(_message.Message):
    __slots__ = ("model", "version", "replica", "outcome", "detail", "output", "worst_error", "device", "weights_sha256", "probe_time", "trace")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[ReplicaProbe.Outcome]
        OUTCOME_PASS: _ClassVar[ReplicaProbe.Outcome]
        OUTCOME_FAIL: _ClassVar[ReplicaProbe.Outcome]
        OUTCOME_ERROR: _ClassVar[ReplicaProbe.Outcome]
        OUTCOME_SKIP: _ClassVar[ReplicaProbe.Outcome]
    OUTCOME_UNSPECIFIED: ReplicaProbe.Outcome
    OUTCOME_PASS: ReplicaProbe.Outcome
    OUTCOME_FAIL: ReplicaProbe.Outcome
    OUTCOME_ERROR: ReplicaProbe.Outcome
    OUTCOME_SKIP: ReplicaProbe.Outcome
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    WORST_ERROR_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROBE_TIME_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    replica: str
    outcome: ReplicaProbe.Outcome
    detail: str
    output: str
    worst_error: float
    device: str
    weights_sha256: str
    probe_time: _timestamp_pb2.Timestamp
    trace: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., replica: _Optional[str] = ..., outcome: _Optional[_Union[ReplicaProbe.Outcome, str]] = ..., detail: _Optional[str] = ..., output: _Optional[str] = ..., worst_error: _Optional[float] = ..., device: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., probe_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace: _Optional[str] = ...) -> None: ...

class WatchIncidentsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class WatchIncidentsResponse(_message.Message):
    __slots__ = ("incident",)
    INCIDENT_FIELD_NUMBER: _ClassVar[int]
    incident: Incident
    def __init__(self, incident: _Optional[_Union[Incident, _Mapping]] = ...) -> None: ...
