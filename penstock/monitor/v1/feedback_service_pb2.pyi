import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LabelOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LABEL_OUTCOME_UNSPECIFIED: _ClassVar[LabelOutcome]
    LABEL_OUTCOME_JOINED: _ClassVar[LabelOutcome]
    LABEL_OUTCOME_PENDING: _ClassVar[LabelOutcome]
    LABEL_OUTCOME_UNKNOWN: _ClassVar[LabelOutcome]
    LABEL_OUTCOME_DUPLICATE: _ClassVar[LabelOutcome]
    LABEL_OUTCOME_REFUSED: _ClassVar[LabelOutcome]
LABEL_OUTCOME_UNSPECIFIED: LabelOutcome
LABEL_OUTCOME_JOINED: LabelOutcome
LABEL_OUTCOME_PENDING: LabelOutcome
LABEL_OUTCOME_UNKNOWN: LabelOutcome
LABEL_OUTCOME_DUPLICATE: LabelOutcome
LABEL_OUTCOME_REFUSED: LabelOutcome

class Label(_message.Message):
    __slots__ = ("model", "request_id", "row", "class_index", "class_name", "number", "label_time", "slices", "metrics")
    class SlicesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LABEL_TIME_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    model: str
    request_id: str
    row: int
    class_index: int
    class_name: str
    number: float
    label_time: _timestamp_pb2.Timestamp
    slices: _containers.ScalarMap[str, str]
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, model: _Optional[str] = ..., request_id: _Optional[str] = ..., row: _Optional[int] = ..., class_index: _Optional[int] = ..., class_name: _Optional[str] = ..., number: _Optional[float] = ..., label_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., slices: _Optional[_Mapping[str, str]] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class RecordFeedbackRequest(_message.Message):
    __slots__ = ("labels",)
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    def __init__(self, labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ...) -> None: ...

class RecordFeedbackResponse(_message.Message):
    __slots__ = ("joined_count", "pending_count", "unknown_count", "duplicate_count", "refused_count", "refusals")
    JOINED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    joined_count: int
    pending_count: int
    unknown_count: int
    duplicate_count: int
    refused_count: int
    refusals: _containers.RepeatedCompositeFieldContainer[LabelRefusal]
    def __init__(self, joined_count: _Optional[int] = ..., pending_count: _Optional[int] = ..., unknown_count: _Optional[int] = ..., duplicate_count: _Optional[int] = ..., refused_count: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[LabelRefusal, _Mapping]]] = ...) -> None: ...

class LabelRefusal(_message.Message):
    __slots__ = ("index", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    reason: str
    def __init__(self, index: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ListQualityRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListQualityResponse(_message.Message):
    __slots__ = ("versions", "next_page_token")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[VersionQuality]
    next_page_token: str
    def __init__(self, versions: _Optional[_Iterable[_Union[VersionQuality, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VersionQuality(_message.Message):
    __slots__ = ("model", "version", "label_count", "prediction_count", "last_label_time", "figures", "estimate")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_LABEL_TIME_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    label_count: int
    prediction_count: int
    last_label_time: _timestamp_pb2.Timestamp
    figures: _containers.RepeatedCompositeFieldContainer[QualityFigure]
    estimate: AccuracyEstimate
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., label_count: _Optional[int] = ..., prediction_count: _Optional[int] = ..., last_label_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., figures: _Optional[_Iterable[_Union[QualityFigure, _Mapping]]] = ..., estimate: _Optional[_Union[AccuracyEstimate, _Mapping]] = ...) -> None: ...

class QualityFigure(_message.Message):
    __slots__ = ("metric", "slice", "min_age_duration", "max_age_duration", "is_recent", "label_count", "value", "low", "high", "guarantee")
    class Guarantee(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        GUARANTEE_UNSPECIFIED: _ClassVar[QualityFigure.Guarantee]
        GUARANTEE_ANYTIME: _ClassVar[QualityFigure.Guarantee]
        GUARANTEE_ASYMPTOTIC: _ClassVar[QualityFigure.Guarantee]
    GUARANTEE_UNSPECIFIED: QualityFigure.Guarantee
    GUARANTEE_ANYTIME: QualityFigure.Guarantee
    GUARANTEE_ASYMPTOTIC: QualityFigure.Guarantee
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    MIN_AGE_DURATION_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_DURATION_FIELD_NUMBER: _ClassVar[int]
    IS_RECENT_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    slice: str
    min_age_duration: _duration_pb2.Duration
    max_age_duration: _duration_pb2.Duration
    is_recent: bool
    label_count: int
    value: float
    low: float
    high: float
    guarantee: QualityFigure.Guarantee
    def __init__(self, metric: _Optional[str] = ..., slice: _Optional[str] = ..., min_age_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_age_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., is_recent: _Optional[bool] = ..., label_count: _Optional[int] = ..., value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., guarantee: _Optional[_Union[QualityFigure.Guarantee, str]] = ...) -> None: ...

class AccuracyEstimate(_message.Message):
    __slots__ = ("value", "low", "high", "prediction_count", "label_count", "is_hint")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_HINT_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    prediction_count: int
    label_count: int
    is_hint: bool
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., prediction_count: _Optional[int] = ..., label_count: _Optional[int] = ..., is_hint: _Optional[bool] = ...) -> None: ...
