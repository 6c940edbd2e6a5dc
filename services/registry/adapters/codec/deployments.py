"""Deployments and the instances that serve them."""

from __future__ import annotations

from dataclasses import asdict

from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import InvalidArgumentError
from services.registry.adapters.codec.optimizations import level_from_pb, variant_from_pb
from services.registry.adapters.codec.times import nanoseconds, timestamp
from services.registry.domain.resources import (
    BatchingConfig,
    Deployment,
    FeedbackConfig,
    InstanceState,
    InstanceStatus,
    Placement,
    Quarantine,
    QueueConfig,
    Slo,
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
        create_time=timestamp(deployment.create_time_ns),
        update_time=timestamp(deployment.update_time_ns),
        etag=deployment.etag,
        optimization=int(deployment.optimization),  # type: ignore[arg-type]
        placements=[pb.Placement(**asdict(one)) for one in deployment.placements],
        pinned=deployment.pinned,
        slo=pb.Slo(**asdict(deployment.slo)) if deployment.slo != Slo() else None,
        split=None if deployment.split is None else pb.TrafficSplit(**asdict(deployment.split)),
        feedback=_feedback_to_pb(deployment.feedback),
        quarantines=map(_quarantine_to_pb, deployment.quarantines),
    )


def _quarantine_to_pb(quarantine: Quarantine) -> pb.Quarantine:
    return pb.Quarantine(
        version=quarantine.version,
        replica=quarantine.replica,
        node=quarantine.node,
        sequence=quarantine.sequence,
        is_last=quarantine.is_last,
        quarantine_time=timestamp(quarantine.quarantine_time_ns),
        actor=quarantine.actor,
        reason=quarantine.reason,
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
        pinned=message.pinned,
        slo=Slo(
            message.slo.availability,
            message.slo.latency_seconds,
            message.slo.latency_share,
            message.slo.window_days,
        ),
        feedback=FeedbackConfig(message.feedback.is_expected, message.feedback.retention_duration.ToNanoseconds()),
    )


def quarantine_from_pb(message: pb.Quarantine) -> Quarantine:
    return Quarantine(
        version=message.version,
        replica=message.replica,
        node=message.node,
        sequence=message.sequence,
        is_last=message.is_last,
        quarantine_time_ns=nanoseconds(message.quarantine_time),
        actor=message.actor,
        reason=message.reason,
    )


def _feedback_to_pb(feedback: FeedbackConfig) -> pb.FeedbackConfig | None:
    if feedback == FeedbackConfig():
        return None
    message = pb.FeedbackConfig(is_expected=feedback.is_expected)
    message.retention_duration.FromNanoseconds(feedback.retention_ns)
    return message


def placement_from_pb(message: pb.Placement) -> Placement:
    return Placement(
        message.version, message.replica, message.node, message.is_leaving, message.reason, message.is_asleep
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
        update_time=timestamp(status.update_time_ns),
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
        update_time_ns=nanoseconds(message.update_time),
        variant=variant_from_pb(message.variant),
    )
