"""Resources as messages of the API, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common import names
from services.common.errors import InvalidArgumentError
from services.registry.domain import ids
from services.registry.domain.changes import Change, Mark
from services.registry.domain.lifecycle import Verdict
from services.registry.domain.resources import (
    Alias,
    Artifact,
    BatchingConfig,
    Deployment,
    InstanceState,
    InstanceStatus,
    Model,
    ModelFormat,
    ModelVersion,
    Optimization,
    OptimizationLevel,
    OptimizationState,
    QueueConfig,
    Resource,
    Signature,
    TensorSpec,
    ValidationReport,
    Variant,
    VariantMeasurement,
    VariantTrial,
)

R = TypeVar("R", Model, ModelVersion, Deployment)


def model_to_pb(model: Model) -> pb.Model:
    return pb.Model(
        name=model.name,
        description=model.description,
        labels=model.labels,
        create_time=_timestamp(model.create_time_ns),
        update_time=_timestamp(model.update_time_ns),
        etag=model.etag,
    )


def model_from_pb(message: pb.Model, *, model: str) -> Model:
    """What a caller sets of a model."""
    return Model(id=model, description=message.description, labels=dict(message.labels), etag=message.etag)


def version_to_pb(version: ModelVersion) -> pb.ModelVersion:
    return pb.ModelVersion(
        name=version.name,
        artifact=artifact_to_pb(version.artifact),
        format=int(version.format),  # type: ignore[arg-type]
        trusted=version.trusted,
        signature=None if version.signature is None else _signature_to_pb(version.signature),
        state=int(version.state),  # type: ignore[arg-type]
        state_reason=version.state_reason,
        validation_report=None if version.validation_report is None else _report_to_pb(version.validation_report),
        metrics=version.metrics,
        labels=version.labels,
        create_time=_timestamp(version.create_time_ns),
        update_time=_timestamp(version.update_time_ns),
        etag=version.etag,
        optimizations=map(_optimization_to_pb, version.optimizations),
    )


def version_from_pb(message: pb.ModelVersion, *, model: str, number: int = 0) -> ModelVersion:
    """What a caller sets of a version."""
    return ModelVersion(
        model=model,
        number=number,
        artifact=Artifact(message.artifact.sha256, message.artifact.size_bytes, message.artifact.filename),
        format=format_from_pb(message.format),
        trusted=message.trusted,
        metrics=dict(message.metrics),
        labels=dict(message.labels),
    )


def artifact_to_pb(artifact: Artifact) -> pb.Artifact:
    return pb.Artifact(sha256=artifact.sha256, size_bytes=artifact.size_bytes, filename=artifact.filename)


def format_from_pb(number: int) -> ModelFormat:
    """Raises: InvalidArgumentError: a newer client's format, or nonsense."""
    try:
        return ModelFormat(number)
    except ValueError:
        raise InvalidArgumentError(
            f"got format {number}, expected one of {', '.join(ModelFormat.__members__)}"
        ) from None


def _signature_to_pb(signature: Signature) -> pb.Signature:
    def tensors(specs: tuple[TensorSpec, ...]) -> list[pb.TensorSpec]:
        return [pb.TensorSpec(name=one.name, datatype=one.datatype, shape=one.shape) for one in specs]

    return pb.Signature(
        inputs=tensors(signature.inputs),
        outputs=tensors(signature.outputs),
        batchable=signature.batchable,
        max_batch_size=signature.max_batch_size,
    )


def signature_from_pb(message: pb.Signature) -> Signature:
    def tensors(specs: Any) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(one.name, one.datatype, tuple(one.shape)) for one in specs)

    return Signature(tensors(message.inputs), tensors(message.outputs), message.batchable, message.max_batch_size)


def _report_to_pb(report: ValidationReport) -> pb.ValidationReport:
    return pb.ValidationReport(
        node=report.node,
        backend=report.backend,
        device=report.device,
        load_duration=_duration(report.load_duration_ns),
        infer_duration=_duration(report.infer_duration_ns),
        complete_time=_timestamp(report.complete_time_ns),
    )


def _report_from_pb(message: pb.ValidationReport) -> ValidationReport:
    return ValidationReport(
        node=message.node,
        backend=message.backend,
        device=message.device,
        load_duration_ns=_nanoseconds(message.load_duration),
        infer_duration_ns=_nanoseconds(message.infer_duration),
        complete_time_ns=_nanoseconds(message.complete_time),
    )


def verdict_from_pb(request: api.ReportValidationRequest) -> Verdict:
    return Verdict(
        node=ids.check_node(request.node),
        rejection=request.rejection,
        signature=signature_from_pb(request.signature) if request.HasField("signature") else None,
        format=format_from_pb(request.format),
        report=_report_from_pb(request.validation_report),
    )


def _optimization_to_pb(found: Optimization) -> pb.Optimization:
    return pb.Optimization(
        hardware=found.hardware,
        level=int(found.level),  # type: ignore[arg-type]
        state=int(found.state),  # type: ignore[arg-type]
        state_reason=found.state_reason,
        variant=dict(found.variant),
        speedup=found.speedup,
        trials=map(_trial_to_pb, found.trials),
        trial_count=found.trial_count,
        node=found.node,
        search_duration=_duration(found.search_duration_ns),
        update_time=_timestamp(found.update_time_ns),
    )


def _trial_to_pb(trial: VariantTrial) -> pb.VariantTrial:
    return pb.VariantTrial(
        variant=dict(trial.variant),
        refusal=trial.refusal,
        measurements=[pb.VariantMeasurement(**asdict(one)) for one in trial.measurements],
        speedup=trial.speedup,
        relative_error=trial.relative_error,
        top_agreement=trial.top_agreement,
    )


def optimization_from_pb(message: pb.Optimization, *, node: str) -> Optimization:
    """Raises: InvalidArgumentError: the state or the level is none that a search can have."""
    if message.state not in OptimizationState._value2member_map_:
        expected = ", ".join(OptimizationState.__members__)
        raise InvalidArgumentError(f"got state {message.state} of an optimization, expected one of {expected}")
    return Optimization(
        hardware=message.hardware,
        level=level_from_pb(message.level),
        state=OptimizationState(message.state),
        state_reason=message.state_reason,
        variant=_variant_from_pb(message.variant),
        speedup=message.speedup,
        trials=tuple(map(_trial_from_pb, message.trials)),
        trial_count=message.trial_count,
        node=ids.check_node(node),
        search_duration_ns=_nanoseconds(message.search_duration),
    )


def _trial_from_pb(message: pb.VariantTrial) -> VariantTrial:
    return VariantTrial(
        variant=_variant_from_pb(message.variant),
        refusal=message.refusal,
        measurements=tuple(
            VariantMeasurement(one.batch_rows, one.rows_per_second, one.original_rows_per_second, one.speedup)
            for one in message.measurements
        ),
        speedup=message.speedup,
        relative_error=message.relative_error,
        top_agreement=message.top_agreement,
    )


def _variant_from_pb(options: Mapping[str, str]) -> Variant:
    return tuple(sorted(options.items()))


def level_from_pb(number: int) -> OptimizationLevel:
    """Raises: InvalidArgumentError: a newer client's level, or nonsense."""
    try:
        return OptimizationLevel(number)
    except ValueError:
        expected = ", ".join(OptimizationLevel.__members__)
        raise InvalidArgumentError(f"got optimization level {number}, expected one of {expected}") from None


def alias_to_pb(alias: Alias) -> pb.Alias:
    return pb.Alias(
        name=alias.name,
        version=names.version_name(alias.model, str(alias.version)),
        update_time=_timestamp(alias.update_time_ns),
        etag=alias.etag,
    )


def deployment_to_pb(deployment: Deployment) -> pb.Deployment:
    batching, queue = deployment.batching, deployment.queue
    return pb.Deployment(
        name=deployment.name,
        versions=deployment.versions,
        replicas=deployment.replicas,
        batching=pb.BatchingConfig(
            max_batch_size=batching.max_batch_size, max_queue_delay_microseconds=batching.max_queue_delay_microseconds
        ),
        queue=pb.QueueConfig(
            max_queue_size=queue.max_queue_size,
            default_timeout_microseconds=queue.default_timeout_microseconds,
            max_attempts=queue.max_attempts,
            priority_levels=queue.priority_levels,
            default_priority_level=queue.default_priority_level,
        ),
        instances=[_instance_to_pb(one) for one in deployment.instances],
        create_time=_timestamp(deployment.create_time_ns),
        update_time=_timestamp(deployment.update_time_ns),
        etag=deployment.etag,
        optimization=int(deployment.optimization),  # type: ignore[arg-type]
    )


def deployment_from_pb(message: pb.Deployment, *, model: str) -> Deployment:
    """What a caller sets of a deployment."""
    batching, queue = message.batching, message.queue
    return Deployment(
        model=model,
        versions=tuple(message.versions),
        replicas=message.replicas,
        batching=BatchingConfig(batching.max_batch_size, batching.max_queue_delay_microseconds),
        queue=QueueConfig(
            queue.max_queue_size,
            queue.default_timeout_microseconds,
            queue.max_attempts,
            queue.priority_levels,
            queue.default_priority_level,
        ),
        etag=message.etag,
        optimization=level_from_pb(message.optimization),
    )


def _instance_to_pb(status: InstanceStatus) -> pb.InstanceStatus:
    return pb.InstanceStatus(
        instance=status.instance,
        version=status.version,
        node=status.node,
        state=int(status.state),  # type: ignore[arg-type]
        reason=status.reason,
        progress=status.progress,
        device=status.device,
        pid=status.pid,
        restarts=status.restarts,
        update_time=_timestamp(status.update_time_ns),
        variant=dict(status.variant),
    )


def instance_from_pb(message: pb.InstanceStatus) -> InstanceStatus:
    """Raises: InvalidArgumentError: the state is none that can be reported."""
    if message.state not in InstanceState._value2member_map_:
        expected = ", ".join(InstanceState.__members__)
        raise InvalidArgumentError(
            f"got state {message.state} of {message.instance[:80]!r}, expected one of {expected}"
        )
    return InstanceStatus(
        instance=message.instance,
        version=message.version,
        node=message.node,
        state=InstanceState(message.state),
        reason=message.reason,
        progress=message.progress,
        device=message.device,
        pid=message.pid,
        restarts=message.restarts,
        update_time_ns=_nanoseconds(message.update_time),
        variant=_variant_from_pb(message.variant),
    )


_ENCODERS: dict[type[Resource], Callable[[Any], Any]] = {
    Model: model_to_pb,
    ModelVersion: version_to_pb,
    Alias: alias_to_pb,
    Deployment: deployment_to_pb,
}


def encode(resource: Resource) -> bytes:
    """A resource as the change log keeps it."""
    return bytes(_ENCODERS[type(resource)](resource).SerializeToString())


def encode_deleted(resource: Resource) -> bytes:
    """What is left of a deleted resource: its name."""
    message = _ENCODERS[type(resource)](resource)
    return bytes(type(message)(name=resource.name).SerializeToString())


def decode(kind: type[R], body: bytes) -> R:
    """The reverse of :func:`encode` for a resource as it was created: without an agent's word on it."""
    return cast("R", _DECODERS[kind](body))


def _created_model(body: bytes) -> Model:
    message = pb.Model.FromString(body)
    created_ns = _nanoseconds(message.create_time)
    model = model_from_pb(message, model=ids.parse_model(message.name))
    return replace(model, create_time_ns=created_ns, update_time_ns=created_ns)


def _created_version(body: bytes) -> ModelVersion:
    message = pb.ModelVersion.FromString(body)
    model, number = ids.parse_version(message.name)
    created_ns = _nanoseconds(message.create_time)
    version = version_from_pb(message, model=model, number=number)
    return replace(version, etag=message.etag, create_time_ns=created_ns, update_time_ns=created_ns)


def _created_deployment(body: bytes) -> Deployment:
    message = pb.Deployment.FromString(body)
    deployment = deployment_from_pb(message, model=ids.parse_deployment(message.name))
    created_ns = _nanoseconds(message.create_time)
    instances = tuple(instance_from_pb(one) for one in message.instances)
    return replace(deployment, instances=instances, create_time_ns=created_ns, update_time_ns=created_ns)


_DECODERS: dict[type[Resource], Callable[[bytes], Resource]] = {
    Model: _created_model,
    ModelVersion: _created_version,
    Deployment: _created_deployment,
}


def event_to_pb(event: Change | Mark) -> api.WatchResourcesResponse:
    """One message of the watch stream."""
    if isinstance(event, Mark):
        return api.WatchResourcesResponse(revision=event.revision, is_snapshot_end=event.is_snapshot_end)
    message = api.WatchResourcesResponse(revision=event.revision, is_deleted=event.is_deleted)
    resource = getattr(message, event.kind)
    resource.SetInParent()
    resource.MergeFromString(event.body)
    return message


def _timestamp(ns: int) -> Timestamp | None:
    if not ns:
        return None
    message = Timestamp()
    message.FromNanoseconds(ns)
    return message


def _duration(ns: int) -> Duration:
    message = Duration()
    message.FromNanoseconds(ns)
    return message


def _nanoseconds(message: Timestamp | Duration) -> int:
    try:
        ns = message.ToNanoseconds()
    except ValueError:
        ns = -1
    if not 0 <= ns < 2**63:
        got = f"{message.seconds} s and {message.nanos} ns"
        raise InvalidArgumentError(f"got {got}, expected an instant from 1970 to 2262, or a span of at most 292 years")
    return ns
