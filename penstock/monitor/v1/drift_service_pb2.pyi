import datetime

from google.api import annotations_pb2 as _annotations_pb2
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

class ListDriftRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDriftResponse(_message.Message):
    __slots__ = ("versions", "next_page_token")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[VersionDrift]
    next_page_token: str
    def __init__(self, versions: _Optional[_Iterable[_Union[VersionDrift, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VersionDrift(_message.Message):
    __slots__ = ("model", "version", "arm", "window", "judged_time", "omnibus_log_evalue", "figures")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    JUDGED_TIME_FIELD_NUMBER: _ClassVar[int]
    OMNIBUS_LOG_EVALUE_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    arm: str
    window: _duration_pb2.Duration
    judged_time: _timestamp_pb2.Timestamp
    omnibus_log_evalue: float
    figures: _containers.RepeatedCompositeFieldContainer[WatchedFigure]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., arm: _Optional[str] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., judged_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., omnibus_log_evalue: _Optional[float] = ..., figures: _Optional[_Iterable[_Union[WatchedFigure, _Mapping]]] = ...) -> None: ...

class WatchedFigure(_message.Message):
    __slots__ = ("signal", "phase", "replica", "state", "reason", "log_evalue", "log_evalue_needed", "unit", "label", "normal", "now", "observation_count", "learnt_duration", "needed_duration", "parts", "histogram")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[WatchedFigure.State]
        STATE_LEARNING: _ClassVar[WatchedFigure.State]
        STATE_WATCHING: _ClassVar[WatchedFigure.State]
        STATE_ALARMED: _ClassVar[WatchedFigure.State]
        STATE_BLIND: _ClassVar[WatchedFigure.State]
    STATE_UNSPECIFIED: WatchedFigure.State
    STATE_LEARNING: WatchedFigure.State
    STATE_WATCHING: WatchedFigure.State
    STATE_ALARMED: WatchedFigure.State
    STATE_BLIND: WatchedFigure.State
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOG_EVALUE_FIELD_NUMBER: _ClassVar[int]
    LOG_EVALUE_NEEDED_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    NORMAL_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEARNT_DURATION_FIELD_NUMBER: _ClassVar[int]
    NEEDED_DURATION_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    signal: _monitor_service_pb2.Incident.Signal
    phase: _monitor_service_pb2.Phase
    replica: str
    state: WatchedFigure.State
    reason: str
    log_evalue: float
    log_evalue_needed: float
    unit: str
    label: str
    normal: _wrappers_pb2.DoubleValue
    now: _wrappers_pb2.DoubleValue
    observation_count: int
    learnt_duration: _duration_pb2.Duration
    needed_duration: _duration_pb2.Duration
    parts: _containers.RepeatedCompositeFieldContainer[FigurePart]
    histogram: ValueHistogram
    def __init__(self, signal: _Optional[_Union[_monitor_service_pb2.Incident.Signal, str]] = ..., phase: _Optional[_Union[_monitor_service_pb2.Phase, str]] = ..., replica: _Optional[str] = ..., state: _Optional[_Union[WatchedFigure.State, str]] = ..., reason: _Optional[str] = ..., log_evalue: _Optional[float] = ..., log_evalue_needed: _Optional[float] = ..., unit: _Optional[str] = ..., label: _Optional[str] = ..., normal: _Optional[_Union[_wrappers_pb2.DoubleValue, _Mapping]] = ..., now: _Optional[_Union[_wrappers_pb2.DoubleValue, _Mapping]] = ..., observation_count: _Optional[int] = ..., learnt_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., needed_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[FigurePart, _Mapping]]] = ..., histogram: _Optional[_Union[ValueHistogram, _Mapping]] = ...) -> None: ...

class FigurePart(_message.Message):
    __slots__ = ("label", "normal", "now", "log_evalue", "histogram")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    NORMAL_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    LOG_EVALUE_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    label: str
    normal: float
    now: _wrappers_pb2.DoubleValue
    log_evalue: float
    histogram: ValueHistogram
    def __init__(self, label: _Optional[str] = ..., normal: _Optional[float] = ..., now: _Optional[_Union[_wrappers_pb2.DoubleValue, _Mapping]] = ..., log_evalue: _Optional[float] = ..., histogram: _Optional[_Union[ValueHistogram, _Mapping]] = ...) -> None: ...

class ValueHistogram(_message.Message):
    __slots__ = ("edges", "normal_shares", "now_shares", "distance")
    EDGES_FIELD_NUMBER: _ClassVar[int]
    NORMAL_SHARES_FIELD_NUMBER: _ClassVar[int]
    NOW_SHARES_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    edges: _containers.RepeatedScalarFieldContainer[float]
    normal_shares: _containers.RepeatedScalarFieldContainer[float]
    now_shares: _containers.RepeatedScalarFieldContainer[float]
    distance: float
    def __init__(self, edges: _Optional[_Iterable[float]] = ..., normal_shares: _Optional[_Iterable[float]] = ..., now_shares: _Optional[_Iterable[float]] = ..., distance: _Optional[float] = ...) -> None: ...
