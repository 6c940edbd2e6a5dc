"""The registry's resources, as values.

Instants are nanoseconds of Unix time, 0 where there is none. Enumerations have the numbers of the API.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from services.common import names
from services.common.trust import Outcome


class VersionState(IntEnum):
    """Where a version stands between upload and retirement."""

    PENDING = 1
    VALIDATING = 2
    READY = 3
    REJECTED = 4
    ARCHIVED = 5


class InstanceState(IntEnum):
    """Where a model process stands."""

    FETCHING = 1
    LOADING = 2
    READY = 3
    DRAINING = 4
    UNAVAILABLE = 5


class OptimizationLevel(IntEnum):
    """How far agents look for a faster way to run a version."""

    UNSPECIFIED = 0
    OFF = 1
    FAST = 2
    FULL = 3


class OptimizationState(IntEnum):
    """Where a search for a faster way stands."""

    SEARCHING = 1
    COMPLETE = 2
    FAILED = 3


Variant = tuple[tuple[str, str], ...]
"""The options that a version is loaded with, sorted by name; the original has none."""


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Whose signature versions of a model need: a key's of a set, given by its id; empty: nobody's."""

    key_set: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A named family of versions. ``last_version`` is the highest number ever given, so that none is given twice."""

    id: str
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    create_time_ns: int = 0
    update_time_ns: int = 0
    etag: str = ""
    last_version: int = 0
    trust_policy: TrustPolicy = TrustPolicy()

    @property
    def name(self) -> str:
        return names.model_name(self.id)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file in the content-addressed store."""

    sha256: str
    size_bytes: int
    path: str = ""
    """Where it lies within a model."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a signature; -1 in ``shape`` is a free dimension, ``labels`` name the last dimension's classes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives. ``max_batch_size`` 0 means that no limit is known.

    A ``decoupled`` model answers a request by any number of responses.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batchable: bool = False
    max_batch_size: int = 0
    decoupled: bool = False


class ProbeOutcome(IntEnum):
    """What came of a probe."""

    UNSPECIFIED = 0
    PASSED = 1
    FAILED = 2
    SKIPPED = 3


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that validation tries."""

    name: str
    outcome: ProbeOutcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BatchMeasurement:
    """What a batch of one size takes."""

    rows: int
    duration_ns: int
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What the validating agent saw."""

    node: str
    backend: str = ""
    device: str = ""
    load_duration_ns: int = 0
    infer_duration_ns: int = 0
    complete_time_ns: int = 0
    probes: tuple[Probe, ...] = ()
    batches: tuple[BatchMeasurement, ...] = ()
    resident_bytes: int = 0
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VariantMeasurement:
    """The speed of a variant at one batch size."""

    batch_rows: int
    rows_per_second: float
    original_rows_per_second: float
    speedup: float


@dataclass(frozen=True, slots=True)
class VariantTrial:
    """One variant that was tried. An empty ``refusal`` means that it may be chosen."""

    variant: Variant
    refusal: str
    measurements: tuple[VariantMeasurement, ...]
    speedup: float
    relative_error: float
    top_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """What a search for the fastest way to run a version found on one kind of hardware."""

    hardware: str
    level: OptimizationLevel
    state: OptimizationState
    state_reason: str = ""
    variant: Variant = ()
    speedup: float = 0.0
    trials: tuple[VariantTrial, ...] = ()
    trial_count: int = 0
    node: str = ""
    search_duration_ns: int = 0
    update_time_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who vouches for a version; a ``refusal`` says why nobody loads it."""

    outcome: Outcome = Outcome.UNSPECIFIED
    signing_key: str = ""
    fingerprint: str = ""
    verify_time_ns: int = 0
    refusal: str = ""
    publisher: str = ""
    voucher: str = ""
    vouch_time_ns: int = 0
    revoke_time_ns: int = 0
    revoker: str = ""
    revoke_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version is from: other versions, a source, and the place where its files were. All names of resources."""

    parents: tuple[str, ...] = ()
    source: str = ""
    predecessor: str = ""
    origin: str = ""
    revision: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One immutable version of a model.

    ``claim_node`` is the agent that validates, or validated, the version; its lease ends at ``claim_end_ns``.
    """

    model: str
    number: int
    files: tuple[Artifact, ...]
    format: str = ""
    trusted: bool = False
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """The API's message as JSON: agents know what it means."""
    signature: Signature | None = None
    state: VersionState = VersionState.PENDING
    state_reason: str = ""
    validation_report: ValidationReport | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    create_time_ns: int = 0
    update_time_ns: int = 0
    etag: str = ""
    claim_node: str = ""
    claim_end_ns: int = 0
    optimizations: tuple[Optimization, ...] = ()
    trust: Trust = Trust()
    lineage: Lineage = Lineage()

    @property
    def name(self) -> str:
        return names.version_name(self.model, str(self.number))

    @property
    def digest(self) -> str:
        """SHA-256 of the list of its files, by path, as sha256sum(1) prints it."""
        lines = sorted((one.path, one.sha256) for one in self.files)
        return hashlib.sha256("".join(f"{sha256}  {path}\n" for path, sha256 in lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A movable name for a version of its model."""

    model: str
    id: str
    version: int
    update_time_ns: int = 0
    etag: str = ""

    @property
    def name(self) -> str:
        return names.alias_name(self.model, self.id)


@dataclass(frozen=True, slots=True)
class BatchingConfig:
    """How requests are joined into batches; 0 takes the default."""

    max_batch_size: int = 0
    max_queue_delay_microseconds: int = 0


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How long requests may wait, and how many; 0 takes the default."""

    max_queue_size: int = 0
    default_timeout_microseconds: int = 0
    max_attempts: int = 0
    priority_levels: int = 0
    default_priority_level: int = 0


@dataclass(frozen=True, slots=True)
class Slo:
    """What users of a model may count on over ``window_days``: shares of requests; 0 promises nothing."""

    availability: float = 0.0
    latency_seconds: float = 0.0
    latency_share: float = 0.0
    window_days: int = 0


@dataclass(frozen=True, slots=True)
class FeedbackConfig:
    """Whether labels are told of a model's answers, and how long these wait for them."""

    is_expected: bool = False
    retention_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """What an agent says of one model process. ``version`` and ``node`` are resource names."""

    instance: str
    version: str
    node: str
    state: InstanceState
    reason: str = ""
    progress: float = 0.0
    device: str = ""
    pid: int = 0
    restarts: int = 0
    update_time_ns: int = 0
    variant: Variant = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a replica of a version runs; ``node`` is a resource name, or empty with the reason why none takes it.

    ``is_leaving`` is the place that it has until its other one takes requests. One that ``is_asleep`` gets a node by
    the next request.
    """

    version: str
    replica: int
    node: str = ""
    is_leaving: bool = False
    reason: str = ""
    is_asleep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A replica on a node whose process was taken out; ``is_last``: not before another one takes requests."""

    version: str
    replica: int
    node: str
    sequence: int
    is_last: bool
    quarantine_time_ns: int
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSplit:
    """How requests are divided between two versions. All are resource names but ``alias``, which is an id."""

    rollout: str
    candidate: str
    baseline: str
    candidate_share: float = 0.0
    shadow_share: float = 0.0
    sticky_key: str = ""
    alias: str = ""
    comparison: str = ""
    pair_tolerance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The desired state of one model's serving, where it runs, and what the agents report of it."""

    model: str
    versions: tuple[str, ...] = ()
    replicas: int = 1
    batching: BatchingConfig = BatchingConfig()
    queue: QueueConfig = QueueConfig()
    instances: tuple[InstanceStatus, ...] = ()
    create_time_ns: int = 0
    update_time_ns: int = 0
    etag: str = ""
    optimization: OptimizationLevel = OptimizationLevel.UNSPECIFIED
    placements: tuple[Placement, ...] = ()
    pinned: bool = False
    slo: Slo = Slo()
    quarantines: tuple[Quarantine, ...] = ()
    split: TrafficSplit | None = None
    feedback: FeedbackConfig = FeedbackConfig()

    @property
    def name(self) -> str:
        return names.deployment_name(self.model)


@dataclass(frozen=True, slots=True)
class DeviceCapacity:
    """The memory of one GPU, in bytes."""

    device: str
    memory_bytes: int
    free_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCapacity:
    """What a node has for model processes. ``resident_bytes`` is what one takes, by its version's name.

    0 bytes of memory or cache: it doesn't know; 0 instances: as many as there is memory for; no formats: all.
    ``without_room`` are the names of versions that are placed there and whose files its disk has no room for.
    """

    memory_bytes: int = 0
    free_memory_bytes: int = 0
    processors: int = 0
    max_instances: int = 0
    devices: tuple[DeviceCapacity, ...] = ()
    resident_bytes: Mapping[str, int] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    cache_bytes: int = 0
    free_cache_bytes: int = 0
    without_room: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What an agent says of its node. ``node`` is a resource name, ``address`` where the agent's API is."""

    node: str
    instances: tuple[InstanceStatus, ...] = ()
    capacity: NodeCapacity = NodeCapacity()
    address: str = ""
    is_leaving: bool = False
    has_successor: bool = False


class NodeState(IntEnum):
    """Whether a node runs and takes replicas."""

    ALIVE = 1
    LEAVING = 2
    SILENT = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A node, how many replicas are placed on it, and when it last reported."""

    report: NodeReport
    state: NodeState
    replicas: int
    report_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A public key of somebody who signs models, as PEM. Revoked once, and for good, at ``revoke_time_ns``."""

    key_set: str
    id: str
    public_key: str
    fingerprint: str = ""
    create_time_ns: int = 0
    creator: str = ""
    revoke_time_ns: int = 0
    revoker: str = ""
    revoke_reason: str = ""
    etag: str = ""

    @property
    def name(self) -> str:
        return names.signing_key_name(self.key_set, self.id)


Resource = Model | ModelVersion | Alias | Deployment | SigningKey
"""What the watch stream carries."""
