import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OptimizationLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPTIMIZATION_LEVEL_UNSPECIFIED: _ClassVar[OptimizationLevel]
    OPTIMIZATION_LEVEL_OFF: _ClassVar[OptimizationLevel]
    OPTIMIZATION_LEVEL_FAST: _ClassVar[OptimizationLevel]
    OPTIMIZATION_LEVEL_FULL: _ClassVar[OptimizationLevel]
OPTIMIZATION_LEVEL_UNSPECIFIED: OptimizationLevel
OPTIMIZATION_LEVEL_OFF: OptimizationLevel
OPTIMIZATION_LEVEL_FAST: OptimizationLevel
OPTIMIZATION_LEVEL_FULL: OptimizationLevel

class Model(_message.Message):
    __slots__ = ("name", "description", "labels", "create_time", "update_time", "etag", "trust_policy")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    TRUST_POLICY_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    labels: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    trust_policy: TrustPolicy
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., trust_policy: _Optional[_Union[TrustPolicy, _Mapping]] = ...) -> None: ...

class TrustPolicy(_message.Message):
    __slots__ = ("key_set",)
    KEY_SET_FIELD_NUMBER: _ClassVar[int]
    key_set: str
    def __init__(self, key_set: _Optional[str] = ...) -> None: ...

class SigningKey(_message.Message):
    __slots__ = ("name", "public_key", "fingerprint", "create_time", "creator", "revoke_time", "revoker", "revoke_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKER_FIELD_NUMBER: _ClassVar[int]
    REVOKE_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    public_key: str
    fingerprint: str
    create_time: _timestamp_pb2.Timestamp
    creator: str
    revoke_time: _timestamp_pb2.Timestamp
    revoker: str
    revoke_reason: str
    def __init__(self, name: _Optional[str] = ..., public_key: _Optional[str] = ..., fingerprint: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., creator: _Optional[str] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoker: _Optional[str] = ..., revoke_reason: _Optional[str] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("name", "files", "format", "trusted", "signature", "state", "state_reason", "validation_report", "metrics", "labels", "create_time", "update_time", "etag", "optimizations", "digest", "manifest", "trust", "lineage")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[ModelVersion.State]
        STATE_PENDING: _ClassVar[ModelVersion.State]
        STATE_VALIDATING: _ClassVar[ModelVersion.State]
        STATE_READY: _ClassVar[ModelVersion.State]
        STATE_REJECTED: _ClassVar[ModelVersion.State]
        STATE_ARCHIVED: _ClassVar[ModelVersion.State]
    STATE_UNSPECIFIED: ModelVersion.State
    STATE_PENDING: ModelVersion.State
    STATE_VALIDATING: ModelVersion.State
    STATE_READY: ModelVersion.State
    STATE_REJECTED: ModelVersion.State
    STATE_ARCHIVED: ModelVersion.State
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_REPORT_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZATIONS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    files: _containers.RepeatedCompositeFieldContainer[Artifact]
    format: str
    trusted: bool
    signature: Signature
    state: ModelVersion.State
    state_reason: str
    validation_report: ValidationReport
    metrics: _containers.ScalarMap[str, float]
    labels: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    optimizations: _containers.RepeatedCompositeFieldContainer[Optimization]
    digest: str
    manifest: Manifest
    trust: Trust
    lineage: Lineage
    def __init__(self, name: _Optional[str] = ..., files: _Optional[_Iterable[_Union[Artifact, _Mapping]]] = ..., format: _Optional[str] = ..., trusted: _Optional[bool] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ..., state: _Optional[_Union[ModelVersion.State, str]] = ..., state_reason: _Optional[str] = ..., validation_report: _Optional[_Union[ValidationReport, _Mapping]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., labels: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., optimizations: _Optional[_Iterable[_Union[Optimization, _Mapping]]] = ..., digest: _Optional[str] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ..., trust: _Optional[_Union[Trust, _Mapping]] = ..., lineage: _Optional[_Union[Lineage, _Mapping]] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("parents", "source", "predecessor", "origin", "revision", "facts")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PREDECESSOR_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    parents: _containers.RepeatedScalarFieldContainer[str]
    source: str
    predecessor: str
    origin: str
    revision: str
    facts: _containers.ScalarMap[str, str]
    def __init__(self, parents: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ..., predecessor: _Optional[str] = ..., origin: _Optional[str] = ..., revision: _Optional[str] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Trust(_message.Message):
    __slots__ = ("outcome", "signing_key", "fingerprint", "verify_time", "refusal", "publisher", "voucher", "vouch_time", "revoke_time", "revoker", "revoke_reason")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Trust.Outcome]
        OUTCOME_UNSIGNED: _ClassVar[Trust.Outcome]
        OUTCOME_VERIFIED: _ClassVar[Trust.Outcome]
        OUTCOME_UNKNOWN_KEY: _ClassVar[Trust.Outcome]
        OUTCOME_REVOKED_KEY: _ClassVar[Trust.Outcome]
        OUTCOME_BROKEN: _ClassVar[Trust.Outcome]
    OUTCOME_UNSPECIFIED: Trust.Outcome
    OUTCOME_UNSIGNED: Trust.Outcome
    OUTCOME_VERIFIED: Trust.Outcome
    OUTCOME_UNKNOWN_KEY: Trust.Outcome
    OUTCOME_REVOKED_KEY: Trust.Outcome
    OUTCOME_BROKEN: Trust.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VERIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PUBLISHER_FIELD_NUMBER: _ClassVar[int]
    VOUCHER_FIELD_NUMBER: _ClassVar[int]
    VOUCH_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKER_FIELD_NUMBER: _ClassVar[int]
    REVOKE_REASON_FIELD_NUMBER: _ClassVar[int]
    outcome: Trust.Outcome
    signing_key: str
    fingerprint: str
    verify_time: _timestamp_pb2.Timestamp
    refusal: str
    publisher: str
    voucher: str
    vouch_time: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    revoker: str
    revoke_reason: str
    def __init__(self, outcome: _Optional[_Union[Trust.Outcome, str]] = ..., signing_key: _Optional[str] = ..., fingerprint: _Optional[str] = ..., verify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refusal: _Optional[str] = ..., publisher: _Optional[str] = ..., voucher: _Optional[str] = ..., vouch_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoker: _Optional[str] = ..., revoke_reason: _Optional[str] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("sequence", "log_time", "actor", "peer", "action", "resource", "details", "previous_sha256", "sha256")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LOG_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SHA256_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    log_time: _timestamp_pb2.Timestamp
    actor: str
    peer: str
    action: str
    resource: str
    details: str
    previous_sha256: str
    sha256: str
    def __init__(self, sequence: _Optional[int] = ..., log_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., peer: _Optional[str] = ..., action: _Optional[str] = ..., resource: _Optional[str] = ..., details: _Optional[str] = ..., previous_sha256: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("signature", "unbatched", "options", "preprocessing", "postprocessing")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    UNBATCHED_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESSING_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    unbatched: bool
    options: _containers.ScalarMap[str, str]
    preprocessing: _containers.RepeatedCompositeFieldContainer[Step]
    postprocessing: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., unbatched: _Optional[bool] = ..., options: _Optional[_Mapping[str, str]] = ..., preprocessing: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., postprocessing: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("operation", "arguments")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    arguments: _struct_pb2.Struct
    def __init__(self, operation: _Optional[str] = ..., arguments: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Optimization(_message.Message):
    __slots__ = ("hardware", "level", "state", "state_reason", "variant", "speedup", "trials", "trial_count", "node", "search_duration", "update_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Optimization.State]
        STATE_SEARCHING: _ClassVar[Optimization.State]
        STATE_COMPLETE: _ClassVar[Optimization.State]
        STATE_FAILED: _ClassVar[Optimization.State]
    STATE_UNSPECIFIED: Optimization.State
    STATE_SEARCHING: Optimization.State
    STATE_COMPLETE: Optimization.State
    STATE_FAILED: Optimization.State
    class VariantEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HARDWARE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    SPEEDUP_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_DURATION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    hardware: str
    level: OptimizationLevel
    state: Optimization.State
    state_reason: str
    variant: _containers.ScalarMap[str, str]
    speedup: float
    trials: _containers.RepeatedCompositeFieldContainer[VariantTrial]
    trial_count: int
    node: str
    search_duration: _duration_pb2.Duration
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, hardware: _Optional[str] = ..., level: _Optional[_Union[OptimizationLevel, str]] = ..., state: _Optional[_Union[Optimization.State, str]] = ..., state_reason: _Optional[str] = ..., variant: _Optional[_Mapping[str, str]] = ..., speedup: _Optional[float] = ..., trials: _Optional[_Iterable[_Union[VariantTrial, _Mapping]]] = ..., trial_count: _Optional[int] = ..., node: _Optional[str] = ..., search_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VariantTrial(_message.Message):
    __slots__ = ("variant", "refusal", "measurements", "speedup", "relative_error", "top_agreement")
    class VariantEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    SPEEDUP_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    TOP_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    variant: _containers.ScalarMap[str, str]
    refusal: str
    measurements: _containers.RepeatedCompositeFieldContainer[VariantMeasurement]
    speedup: float
    relative_error: float
    top_agreement: float
    def __init__(self, variant: _Optional[_Mapping[str, str]] = ..., refusal: _Optional[str] = ..., measurements: _Optional[_Iterable[_Union[VariantMeasurement, _Mapping]]] = ..., speedup: _Optional[float] = ..., relative_error: _Optional[float] = ..., top_agreement: _Optional[float] = ...) -> None: ...

class VariantMeasurement(_message.Message):
    __slots__ = ("batch_rows", "rows_per_second", "original_rows_per_second", "speedup")
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_ROWS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SPEEDUP_FIELD_NUMBER: _ClassVar[int]
    batch_rows: int
    rows_per_second: float
    original_rows_per_second: float
    speedup: float
    def __init__(self, batch_rows: _Optional[int] = ..., rows_per_second: _Optional[float] = ..., original_rows_per_second: _Optional[float] = ..., speedup: _Optional[float] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("sha256", "size_bytes", "path")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    path: str
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., path: _Optional[str] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("inputs", "outputs", "batchable", "max_batch_size", "decoupled")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    BATCHABLE_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    DECOUPLED_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    batchable: bool
    max_batch_size: int
    decoupled: bool
    def __init__(self, inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., batchable: _Optional[bool] = ..., max_batch_size: _Optional[int] = ..., decoupled: _Optional[bool] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "datatype", "shape", "labels")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class ValidationReport(_message.Message):
    __slots__ = ("node", "backend", "device", "load_duration", "infer_duration", "complete_time", "probes", "batches", "resident_bytes", "libraries")
    NODE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LOAD_DURATION_FIELD_NUMBER: _ClassVar[int]
    INFER_DURATION_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_TIME_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FIELD_NUMBER: _ClassVar[int]
    node: str
    backend: str
    device: str
    load_duration: _duration_pb2.Duration
    infer_duration: _duration_pb2.Duration
    complete_time: _timestamp_pb2.Timestamp
    probes: _containers.RepeatedCompositeFieldContainer[Probe]
    batches: _containers.RepeatedCompositeFieldContainer[BatchMeasurement]
    resident_bytes: int
    libraries: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., backend: _Optional[str] = ..., device: _Optional[str] = ..., load_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., infer_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., complete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., probes: _Optional[_Iterable[_Union[Probe, _Mapping]]] = ..., batches: _Optional[_Iterable[_Union[BatchMeasurement, _Mapping]]] = ..., resident_bytes: _Optional[int] = ..., libraries: _Optional[_Iterable[str]] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("name", "outcome", "detail")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Probe.Outcome]
        OUTCOME_PASSED: _ClassVar[Probe.Outcome]
        OUTCOME_FAILED: _ClassVar[Probe.Outcome]
        OUTCOME_SKIPPED: _ClassVar[Probe.Outcome]
    OUTCOME_UNSPECIFIED: Probe.Outcome
    OUTCOME_PASSED: Probe.Outcome
    OUTCOME_FAILED: Probe.Outcome
    OUTCOME_SKIPPED: Probe.Outcome
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    outcome: Probe.Outcome
    detail: str
    def __init__(self, name: _Optional[str] = ..., outcome: _Optional[_Union[Probe.Outcome, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class BatchMeasurement(_message.Message):
    __slots__ = ("rows", "duration", "peak_bytes")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    rows: int
    duration: _duration_pb2.Duration
    peak_bytes: int
    def __init__(self, rows: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., peak_bytes: _Optional[int] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("name", "version", "update_time", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    update_time: _timestamp_pb2.Timestamp
    etag: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("name", "versions", "replicas", "batching", "queue", "instances", "create_time", "update_time", "etag", "optimization", "placements", "pinned", "slo", "split", "feedback", "quarantines")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    BATCHING_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZATION_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    SLO_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    QUARANTINES_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: _containers.RepeatedScalarFieldContainer[str]
    replicas: int
    batching: BatchingConfig
    queue: QueueConfig
    instances: _containers.RepeatedCompositeFieldContainer[InstanceStatus]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    optimization: OptimizationLevel
    placements: _containers.RepeatedCompositeFieldContainer[Placement]
    pinned: bool
    slo: Slo
    split: TrafficSplit
    feedback: FeedbackConfig
    quarantines: _containers.RepeatedCompositeFieldContainer[Quarantine]
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[_Iterable[str]] = ..., replicas: _Optional[int] = ..., batching: _Optional[_Union[BatchingConfig, _Mapping]] = ..., queue: _Optional[_Union[QueueConfig, _Mapping]] = ..., instances: _Optional[_Iterable[_Union[InstanceStatus, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., optimization: _Optional[_Union[OptimizationLevel, str]] = ..., placements: _Optional[_Iterable[_Union[Placement, _Mapping]]] = ..., pinned: _Optional[bool] = ..., slo: _Optional[_Union[Slo, _Mapping]] = ..., split: _Optional[_Union[TrafficSplit, _Mapping]] = ..., feedback: _Optional[_Union[FeedbackConfig, _Mapping]] = ..., quarantines: _Optional[_Iterable[_Union[Quarantine, _Mapping]]] = ...) -> None: ...

class FeedbackConfig(_message.Message):
    __slots__ = ("is_expected", "retention_duration")
    IS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    RETENTION_DURATION_FIELD_NUMBER: _ClassVar[int]
    is_expected: bool
    retention_duration: _duration_pb2.Duration
    def __init__(self, is_expected: _Optional[bool] = ..., retention_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Quarantine(_message.Message):
    __slots__ = ("version", "replica", "node", "sequence", "is_last", "quarantine_time", "actor", "reason")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    version: str
    replica: int
    node: str
    sequence: int
    is_last: bool
    quarantine_time: _timestamp_pb2.Timestamp
    actor: str
    reason: str
    def __init__(self, version: _Optional[str] = ..., replica: _Optional[int] = ..., node: _Optional[str] = ..., sequence: _Optional[int] = ..., is_last: _Optional[bool] = ..., quarantine_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class TrafficSplit(_message.Message):
    __slots__ = ("rollout", "candidate", "baseline", "candidate_share", "shadow_share", "sticky_key", "alias", "comparison", "pair_tolerance")
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_SHARE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_SHARE_FIELD_NUMBER: _ClassVar[int]
    STICKY_KEY_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    PAIR_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    rollout: str
    candidate: str
    baseline: str
    candidate_share: float
    shadow_share: float
    sticky_key: str
    alias: str
    comparison: str
    pair_tolerance: float
    def __init__(self, rollout: _Optional[str] = ..., candidate: _Optional[str] = ..., baseline: _Optional[str] = ..., candidate_share: _Optional[float] = ..., shadow_share: _Optional[float] = ..., sticky_key: _Optional[str] = ..., alias: _Optional[str] = ..., comparison: _Optional[str] = ..., pair_tolerance: _Optional[float] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("version", "replica", "node", "is_leaving", "reason", "is_asleep")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    IS_LEAVING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_ASLEEP_FIELD_NUMBER: _ClassVar[int]
    version: str
    replica: int
    node: str
    is_leaving: bool
    reason: str
    is_asleep: bool
    def __init__(self, version: _Optional[str] = ..., replica: _Optional[int] = ..., node: _Optional[str] = ..., is_leaving: _Optional[bool] = ..., reason: _Optional[str] = ..., is_asleep: _Optional[bool] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "address", "state", "capacity", "replicas", "report_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Node.State]
        STATE_ALIVE: _ClassVar[Node.State]
        STATE_LEAVING: _ClassVar[Node.State]
        STATE_SILENT: _ClassVar[Node.State]
    STATE_UNSPECIFIED: Node.State
    STATE_ALIVE: Node.State
    STATE_LEAVING: Node.State
    STATE_SILENT: Node.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REPORT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    state: Node.State
    capacity: NodeCapacity
    replicas: int
    report_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[_Union[Node.State, str]] = ..., capacity: _Optional[_Union[NodeCapacity, _Mapping]] = ..., replicas: _Optional[int] = ..., report_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NodeCapacity(_message.Message):
    __slots__ = ("memory_bytes", "free_memory_bytes", "processors", "max_instances", "devices", "resident_memory", "formats", "libraries", "cache_bytes", "free_cache_bytes", "versions_without_room")
    class ResidentMemoryEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROCESSORS_FIELD_NUMBER: _ClassVar[int]
    MAX_INSTANCES_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_MEMORY_FIELD_NUMBER: _ClassVar[int]
    FORMATS_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_WITHOUT_ROOM_FIELD_NUMBER: _ClassVar[int]
    memory_bytes: int
    free_memory_bytes: int
    processors: int
    max_instances: int
    devices: _containers.RepeatedCompositeFieldContainer[DeviceCapacity]
    resident_memory: _containers.ScalarMap[str, int]
    formats: _containers.RepeatedScalarFieldContainer[str]
    libraries: _containers.RepeatedScalarFieldContainer[str]
    cache_bytes: int
    free_cache_bytes: int
    versions_without_room: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, memory_bytes: _Optional[int] = ..., free_memory_bytes: _Optional[int] = ..., processors: _Optional[int] = ..., max_instances: _Optional[int] = ..., devices: _Optional[_Iterable[_Union[DeviceCapacity, _Mapping]]] = ..., resident_memory: _Optional[_Mapping[str, int]] = ..., formats: _Optional[_Iterable[str]] = ..., libraries: _Optional[_Iterable[str]] = ..., cache_bytes: _Optional[int] = ..., free_cache_bytes: _Optional[int] = ..., versions_without_room: _Optional[_Iterable[str]] = ...) -> None: ...

class DeviceCapacity(_message.Message):
    __slots__ = ("device", "memory_bytes", "free_memory_bytes")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    device: str
    memory_bytes: int
    free_memory_bytes: int
    def __init__(self, device: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., free_memory_bytes: _Optional[int] = ...) -> None: ...

class Slo(_message.Message):
    __slots__ = ("availability", "latency_seconds", "latency_share", "window_days")
    AVAILABILITY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_SHARE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_DAYS_FIELD_NUMBER: _ClassVar[int]
    availability: float
    latency_seconds: float
    latency_share: float
    window_days: int
    def __init__(self, availability: _Optional[float] = ..., latency_seconds: _Optional[float] = ..., latency_share: _Optional[float] = ..., window_days: _Optional[int] = ...) -> None: ...

class BatchingConfig(_message.Message):
    __slots__ = ("max_batch_size", "max_queue_delay_microseconds")
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_DELAY_MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    max_batch_size: int
    max_queue_delay_microseconds: int
    def __init__(self, max_batch_size: _Optional[int] = ..., max_queue_delay_microseconds: _Optional[int] = ...) -> None: ...

class QueueConfig(_message.Message):
    __slots__ = ("max_queue_size", "default_timeout_microseconds", "max_attempts", "priority_levels", "default_priority_level")
    MAX_QUEUE_SIZE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_TIMEOUT_MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_LEVELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PRIORITY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    max_queue_size: int
    default_timeout_microseconds: int
    max_attempts: int
    priority_levels: int
    default_priority_level: int
    def __init__(self, max_queue_size: _Optional[int] = ..., default_timeout_microseconds: _Optional[int] = ..., max_attempts: _Optional[int] = ..., priority_levels: _Optional[int] = ..., default_priority_level: _Optional[int] = ...) -> None: ...

class InstanceStatus(_message.Message):
    __slots__ = ("instance", "version", "node", "state", "reason", "progress", "device", "pid", "restarts", "update_time", "variant")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[InstanceStatus.State]
        STATE_FETCHING: _ClassVar[InstanceStatus.State]
        STATE_LOADING: _ClassVar[InstanceStatus.State]
        STATE_READY: _ClassVar[InstanceStatus.State]
        STATE_DRAINING: _ClassVar[InstanceStatus.State]
        STATE_UNAVAILABLE: _ClassVar[InstanceStatus.State]
    STATE_UNSPECIFIED: InstanceStatus.State
    STATE_FETCHING: InstanceStatus.State
    STATE_LOADING: InstanceStatus.State
    STATE_READY: InstanceStatus.State
    STATE_DRAINING: InstanceStatus.State
    STATE_UNAVAILABLE: InstanceStatus.State
    class VariantEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    instance: str
    version: str
    node: str
    state: InstanceStatus.State
    reason: str
    progress: float
    device: str
    pid: int
    restarts: int
    update_time: _timestamp_pb2.Timestamp
    variant: _containers.ScalarMap[str, str]
    def __init__(self, instance: _Optional[str] = ..., version: _Optional[str] = ..., node: _Optional[str] = ..., state: _Optional[_Union[InstanceStatus.State, str]] = ..., reason: _Optional[str] = ..., progress: _Optional[float] = ..., device: _Optional[str] = ..., pid: _Optional[int] = ..., restarts: _Optional[int] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., variant: _Optional[_Mapping[str, str]] = ...) -> None: ...
