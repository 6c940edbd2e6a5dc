"""The registry's resources as the agent's own words, and back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial

from google.protobuf import json_format

from penstock.registry.v1 import resources_pb2 as pb
from services.common import names
from services.common.errors import PenstockError
from services.common.watch import ResourceCache
from services.inference.adapters.devices import Hardware
from services.inference.domain.content import Content, ModelFile
from services.inference.domain.fleet import (
    DEFAULT_MAX_ATTEMPTS,
    Assignment,
    Batching,
    Quarantine,
    Slot,
    effective_batch_size,
)
from services.inference.domain.manifest import Manifest, Step
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.variants import ORIGINAL, Level, Trial, Variant

_log = logging.getLogger(__name__)


def content_of(version: pb.ModelVersion) -> Content:
    return Content(version.digest, tuple(ModelFile(one.path, one.sha256, one.size_bytes) for one in version.files))


def manifest_of(version: pb.ModelVersion) -> Manifest:
    manifest = version.manifest
    return Manifest(
        inputs=_specs(manifest.signature.inputs),
        outputs=_specs(manifest.signature.outputs),
        max_batch_size=manifest.signature.max_batch_size,
        is_unbatched=manifest.unbatched,
        options=dict(manifest.options),
        preprocessing=_steps(manifest.preprocessing),
        postprocessing=_steps(manifest.postprocessing),
    )


def _steps(messages: Iterable[pb.Step]) -> tuple[Step, ...]:
    return tuple(Step(one.operation, json_format.MessageToDict(one.arguments)) for one in messages)


def signature_from(message: pb.Signature) -> Signature:
    return Signature(
        _specs(message.inputs), _specs(message.outputs), message.batchable, message.max_batch_size, message.decoupled
    )


def _specs(messages: Iterable[pb.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(one.name, one.datatype, tuple(one.shape), tuple(one.labels)) for one in messages)


def signature_message(signature: Signature) -> pb.Signature:
    return pb.Signature(
        inputs=[pb.TensorSpec(**asdict(one)) for one in signature.inputs],
        outputs=[pb.TensorSpec(**asdict(one)) for one in signature.outputs],
        batchable=signature.is_batchable,
        max_batch_size=signature.max_batch_size,
        decoupled=signature.is_decoupled,
    )


def level_of(deployment: pb.Deployment) -> Level:
    """How far to search for a faster way to run its versions. One that isn't known counts as the default."""
    try:
        return Level(deployment.optimization)
    except ValueError:
        return Level.FAST


def optimization_of(version: pb.ModelVersion, hardware: Hardware) -> pb.Optimization | None:
    """What is recorded for a version on this hardware."""
    key = hardware.key(version.format) if version.format else ""
    return next((one for one in version.optimizations if one.hardware == key), None)


def trial_message(trial: Trial) -> pb.VariantTrial:
    return pb.VariantTrial(
        variant=dict(trial.variant.options),
        refusal=trial.refusal,
        measurements=[pb.VariantMeasurement(**asdict(one)) for one in trial.measurements],
        speedup=trial.speedup,
        relative_error=trial.relative_error,
        top_agreement=trial.top_agreement,
    )


def desired(
    resources: ResourceCache,
    hardware: Hardware,
    *,
    node: str,
    limit: Level,
    has_product: Callable[[str], bool] = lambda _: True,
) -> dict[Slot, Assignment]:
    """The processes that are placed on a node, given by its resource name.

    Versions that have not arrived yet, or can't serve, are left out.

    ``limit`` is the most that this node does to run them faster: with OFF what was found is not used either.
    ``has_product`` says whether this node has native code of a content, by its digest; without it what is compiled
    can't be used.
    """
    return {
        slot: assignment
        for deployment in resources.deployments.values()
        for slot, assignment in _of(
            deployment, resources, node, partial(_variant, hardware=hardware, limit=limit, has_product=has_product)
        )
    }


def asleep(resources: ResourceCache) -> set[tuple[str, int]]:
    """Deployed replicas for which there is no room on any node, by their version's resource name and their number."""
    return {
        (place.version, place.replica)
        for deployment in resources.deployments.values()
        for place in deployment.placements
        if not place.node
    }


def _variant(
    deployment: pb.Deployment,
    version: pb.ModelVersion,
    *,
    hardware: Hardware,
    limit: Level,
    has_product: Callable[[str], bool],
) -> Variant:
    found = optimization_of(version, hardware)
    if found is None or min(level_of(deployment), limit) is Level.OFF:
        return ORIGINAL
    variant = Variant.of(found.variant)
    return ORIGINAL if variant.is_compiled and not has_product(version.digest) else variant


def _of(
    deployment: pb.Deployment,
    resources: ResourceCache,
    node: str,
    variant_of: Callable[[pb.Deployment, pb.ModelVersion], Variant],
) -> Iterator[tuple[Slot, Assignment]]:
    placed: dict[str, list[int]] = {}
    for place in deployment.placements:
        if place.node == node:
            placed.setdefault(place.version, []).append(place.replica)
    for name, replicas in placed.items():
        version = resources.versions.get(name)
        if version is None or not version.format or not version.HasField("signature"):
            continue
        try:
            model, number = names.split(name, "models/*/versions/*")
        except PenstockError as error:
            _log.warning("%s is not served: %s", deployment.name, error)
            continue
        signature = signature_from(version.signature)
        assignment = Assignment(
            content_of(version),
            version.format,
            manifest_of(version),
            version.trusted,
            signature,
            _batching(deployment, signature),
            variant_of(deployment, version),
            tells_predictions=deployment.feedback.is_expected,
        )
        taken_out = quarantines(deployment, node)
        for replica in replicas:
            slot = Slot(model, number, replica)
            last = taken_out.get(slot)
            yield slot, assignment if last is None else replace(assignment, quarantine=last.sequence)


def quarantined(resources: ResourceCache, *, node: str) -> dict[Slot, Quarantine]:
    """The replicas on a node whose process was taken out, the last time of each."""
    return {
        slot: last
        for deployment in resources.deployments.values()
        for slot, last in quarantines(deployment, node).items()
    }


def quarantines(deployment: pb.Deployment, node: str) -> dict[Slot, Quarantine]:
    """The same, of one deployment."""
    found = {}
    for one in deployment.quarantines:
        if one.node == node:
            model, number = names.split(one.version, "models/*/versions/*")
            found[Slot(model, number, one.replica)] = Quarantine(one.sequence, one.is_last)
    return found


def _batching(deployment: pb.Deployment, signature: Signature) -> Batching:
    batching, queue = deployment.batching, deployment.queue
    return Batching(
        max_batch_size=effective_batch_size(batching.max_batch_size, signature),
        max_queue_delay_us=batching.max_queue_delay_microseconds,
        max_attempts=queue.max_attempts or DEFAULT_MAX_ATTEMPTS,
        priority_levels=max(1, queue.priority_levels),
    )
