"""What a deployment may ask for, and what a node may report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import chain

from services.common.errors import InvalidArgumentError
from services.registry.domain import ids
from services.registry.domain.limits import shorten
from services.registry.domain.optimizations import check_variant
from services.registry.domain.resources import (
    BatchingConfig,
    Deployment,
    FeedbackConfig,
    InstanceStatus,
    NodeReport,
    QueueConfig,
    Slo,
)

MAX_REPLICAS = 64
MAX_VERSIONS = 64
MAX_PRIORITY_LEVELS = 100
MAX_INSTANCE_ID = 255
MAX_LATENCY_S = 3_600
SLO_LATENCY_SHARE = 0.99
MIN_RETENTION_NS, RETENTION_NS, MAX_RETENTION_NS = 60 * 10**9, 7 * 86_400 * 10**9, 90 * 86_400 * 10**9
"""How long answers wait for labels: a minute, a week, 90 days."""
MIN_SLO_WINDOW_DAYS, SLO_WINDOW_DAYS, MAX_SLO_WINDOW_DAYS = 7, 30, 90
"""Of shorter windows, the shortest that a burn rate is taken over would hold too few scrapes."""

SILENCE_NS = 3 * 10**9
"""What is placed on a node that was silent for so long is placed elsewhere."""

SUCCESSION_NS = 20 * 10**9
"""How long an agent may take to begin after another one that announced it."""

EXPIRY_NS = 15 * 10**9
"""A node that was silent for so long loses its instances."""

GRACE_NS = 6 * 10**9
"""How long nodes may take to report to a registry that has just begun."""

LOOK_AGAIN_NS = 2 * 10**9
"""How often it is looked whether there is room by now for replicas that found none."""

UNKNOWN_BYTES = 1 << 62
"""What a node has free that doesn't know its memory."""


def normalise(deployment: Deployment) -> Deployment:
    """The deployment with 0 replicas read as 1, checked in all that can be told without knowing the versions.

    Raises:
        InvalidArgumentError: with what was got and what was expected.
    """
    _check_versions(deployment)
    if not 0 <= deployment.replicas <= MAX_REPLICAS:
        raise InvalidArgumentError(f"got replicas {deployment.replicas}, expected 1 to {MAX_REPLICAS}, or 0 for 1")
    _check_not_negative("batching", deployment.batching)
    _check_not_negative("queue", deployment.queue)
    queue = deployment.queue
    if queue.priority_levels > MAX_PRIORITY_LEVELS:
        raise InvalidArgumentError(
            f"got queue.priority_levels {queue.priority_levels}, expected at most {MAX_PRIORITY_LEVELS}"
        )
    if queue.default_priority_level > max(1, queue.priority_levels):
        raise InvalidArgumentError(
            f"got queue.default_priority_level {queue.default_priority_level}, "
            f"expected at most priority_levels, {max(1, queue.priority_levels)}"
        )
    return replace(
        deployment, replicas=deployment.replicas or 1, slo=_slo(deployment.slo), feedback=_feedback(deployment.feedback)
    )


def _feedback(feedback: FeedbackConfig) -> FeedbackConfig:
    """The same with its default written out."""
    if not feedback.is_expected:
        if feedback.retention_ns:
            raise InvalidArgumentError("got feedback.retention_duration alone, expected feedback.is_expected too")
        return feedback
    if feedback.retention_ns and not MIN_RETENTION_NS <= feedback.retention_ns <= MAX_RETENTION_NS:
        raise InvalidArgumentError(
            f"got feedback.retention_duration {feedback.retention_ns / 1e9:g} s, expected 1 minute to 90 days"
        )
    return replace(feedback, retention_ns=feedback.retention_ns or RETENTION_NS)


def _slo(slo: Slo) -> Slo:
    """The objectives with their defaults written out."""
    for name, share in (("availability", slo.availability), ("latency_share", slo.latency_share)):
        if not 0 <= share < 1:
            raise InvalidArgumentError(f"got slo.{name} {share:g}, expected a share above 0 and below 1, or 0 for none")
    if not 0 <= slo.latency_seconds <= MAX_LATENCY_S:
        raise InvalidArgumentError(f"got slo.latency_seconds {slo.latency_seconds:g}, expected 0 to {MAX_LATENCY_S}")
    if slo.latency_share and not slo.latency_seconds:
        raise InvalidArgumentError(f"got slo.latency_share {slo.latency_share:g}, expected slo.latency_seconds too")
    if not (slo.availability or slo.latency_seconds):
        if slo.window_days:
            raise InvalidArgumentError(f"got slo.window_days {slo.window_days} alone, expected an objective too")
        return slo
    days = slo.window_days or SLO_WINDOW_DAYS
    if not MIN_SLO_WINDOW_DAYS <= days <= MAX_SLO_WINDOW_DAYS:
        raise InvalidArgumentError(
            f"got slo.window_days {days}, expected {MIN_SLO_WINDOW_DAYS} to {MAX_SLO_WINDOW_DAYS}, "
            f"or 0 for {SLO_WINDOW_DAYS}"
        )
    share = (slo.latency_share or SLO_LATENCY_SHARE) if slo.latency_seconds else 0.0
    return replace(slo, latency_share=share, window_days=days)


def _check_versions(deployment: Deployment) -> None:
    if not 0 < len(deployment.versions) <= MAX_VERSIONS:
        raise InvalidArgumentError(f"got {len(deployment.versions)} versions, expected 1 to {MAX_VERSIONS}")
    if len(set(deployment.versions)) < len(deployment.versions):
        raise InvalidArgumentError(f"got versions {', '.join(deployment.versions)}, expected each once")
    for version in deployment.versions:
        if ids.parse_version(version)[0] != deployment.model:
            raise InvalidArgumentError(f"got version {version}, expected one of models/{deployment.model}")


def _check_not_negative(what: str, config: BatchingConfig | QueueConfig) -> None:
    for field in fields(config):
        if (value := getattr(config, field.name)) < 0:
            raise InvalidArgumentError(f"got {what}.{field.name} {value}, expected 0 or more")


def check_report(report: NodeReport) -> NodeReport:
    """The report with its instances in the order they are kept, each known to be the node's own.

    Raises:
        InvalidArgumentError: it says what can't be.
    """
    capacity = report.capacity
    figures = (capacity.memory_bytes, capacity.free_memory_bytes, capacity.processors, capacity.max_instances)
    of_cache = (capacity.cache_bytes, capacity.free_cache_bytes)
    of_devices = ((one.memory_bytes, one.free_memory_bytes) for one in capacity.devices)
    if (least := min(*figures, *of_cache, *chain(*of_devices), *capacity.resident_bytes.values())) < 0:
        raise InvalidArgumentError(f"got a capacity with {least} in it, expected 0 or more")
    return replace(report, instances=_check_instances(ids.check_node(report.node), report.instances))


def _check_instances(node: str, instances: Sequence[InstanceStatus]) -> tuple[InstanceStatus, ...]:
    if len({one.instance for one in instances}) < len(instances):
        raise InvalidArgumentError("got two instances of one name, expected each once")
    for one in instances:
        ids.parse_version(one.version)
        if not 0 < len(one.instance) <= MAX_INSTANCE_ID or "\0" in one.instance + one.device:
            raise InvalidArgumentError(
                f"got instance {one.instance[:80]!r}, expected a name of 1 to {MAX_INSTANCE_ID} characters"
            )
        if one.node not in ("", node):
            raise InvalidArgumentError(f"got {one.instance} of {one.node!r}, expected an instance of {node}")
        if not 0 <= one.progress <= 1:
            raise InvalidArgumentError(f"got progress {one.progress} of {one.instance}, expected 0 to 1")
        check_variant(one.variant)
    return tuple(
        replace(one, node=node, reason=shorten(one.reason)) for one in sorted(instances, key=lambda one: one.instance)
    )


def replica_of(status: InstanceStatus) -> tuple[str, int] | None:
    """Version and number of the replica that a process is; None where its name doesn't tell."""
    number = status.instance.rpartition(".")[2]
    return (status.version, int(number)) if number.isdecimal() else None


def changed_models(before: Sequence[InstanceStatus], after: Sequence[InstanceStatus]) -> list[str]:
    """The models that have an instance which came, went or changed."""
    return sorted({ids.parse_version(one.version)[0] for one in set(before) ^ set(after)})
