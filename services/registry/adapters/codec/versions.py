"""Versions: their artifacts, signatures, and what validation and searches found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from google.protobuf import json_format

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.times import duration
from services.registry.adapters.codec.optimizations import optimization_to_pb
from services.registry.adapters.codec.times import nanoseconds, timestamp
from services.registry.adapters.codec.trust import trust_to_pb
from services.registry.domain import ids
from services.registry.domain.lifecycle import Verdict
from services.registry.domain.resources import (
    Artifact,
    BatchMeasurement,
    Lineage,
    ModelVersion,
    Probe,
    ProbeOutcome,
    Signature,
    TensorSpec,
    ValidationReport,
)


def version_to_pb(version: ModelVersion) -> pb.ModelVersion:
    return pb.ModelVersion(
        name=version.name,
        files=map(artifact_to_pb, version.files),
        format=version.format,
        trusted=version.trusted,
        manifest=manifest_to_pb(version.manifest) if version.manifest else None,
        signature=None if version.signature is None else _signature_to_pb(version.signature),
        state=int(version.state),  # type: ignore[arg-type]
        state_reason=version.state_reason,
        validation_report=None if version.validation_report is None else _report_to_pb(version.validation_report),
        metrics=version.metrics,
        labels=version.labels,
        create_time=timestamp(version.create_time_ns),
        update_time=timestamp(version.update_time_ns),
        etag=version.etag,
        optimizations=map(optimization_to_pb, version.optimizations),
        digest=version.digest,
        trust=trust_to_pb(version.trust),
        lineage=_lineage_to_pb(version.lineage),
    )


def version_from_pb(message: pb.ModelVersion, *, model: str, number: int = 0) -> ModelVersion:
    """What a caller sets of a version."""
    return ModelVersion(
        model=model,
        number=number,
        files=tuple(Artifact(one.sha256, one.size_bytes, one.path) for one in message.files),
        format=ids.check_format(message.format),
        trusted=message.trusted,
        manifest=json_format.MessageToDict(message.manifest) if message.HasField("manifest") else {},
        metrics=dict(message.metrics),
        labels=dict(message.labels),
        lineage=_lineage_from_pb(message.lineage),
    )


def _lineage_to_pb(lineage: Lineage) -> pb.Lineage | None:
    return None if lineage == Lineage() else pb.Lineage(**asdict(lineage))


def _lineage_from_pb(message: pb.Lineage) -> Lineage:
    """What a caller sets of it."""
    return Lineage(
        parents=tuple(message.parents), origin=message.origin, revision=message.revision, facts=dict(message.facts)
    )


def manifest_to_pb(manifest: Mapping[str, Any]) -> pb.Manifest:
    return json_format.ParseDict(dict(manifest), pb.Manifest())


def artifact_to_pb(artifact: Artifact) -> pb.Artifact:
    return pb.Artifact(sha256=artifact.sha256, size_bytes=artifact.size_bytes, path=artifact.path)


def _signature_to_pb(signature: Signature) -> pb.Signature:
    def tensors(specs: tuple[TensorSpec, ...]) -> list[pb.TensorSpec]:
        return [
            pb.TensorSpec(name=one.name, datatype=one.datatype, shape=one.shape, labels=one.labels) for one in specs
        ]

    return pb.Signature(
        inputs=tensors(signature.inputs),
        outputs=tensors(signature.outputs),
        batchable=signature.batchable,
        max_batch_size=signature.max_batch_size,
        decoupled=signature.decoupled,
    )


def _signature_from_pb(message: pb.Signature) -> Signature:
    def tensors(specs: Any) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(one.name, one.datatype, tuple(one.shape), tuple(one.labels)) for one in specs)

    return Signature(
        tensors(message.inputs),
        tensors(message.outputs),
        message.batchable,
        message.max_batch_size,
        message.decoupled,
    )


def _report_to_pb(report: ValidationReport) -> pb.ValidationReport:
    return pb.ValidationReport(
        node=report.node,
        backend=report.backend,
        device=report.device,
        load_duration=duration(report.load_duration_ns),
        infer_duration=duration(report.infer_duration_ns),
        complete_time=timestamp(report.complete_time_ns),
        probes=[
            pb.Probe(name=one.name, outcome=int(one.outcome), detail=one.detail)  # type: ignore[arg-type]
            for one in report.probes
        ],
        batches=[
            pb.BatchMeasurement(rows=one.rows, duration=duration(one.duration_ns), peak_bytes=one.peak_bytes)
            for one in report.batches
        ],
        resident_bytes=report.resident_bytes,
        libraries=report.libraries,
    )


def _report_from_pb(message: pb.ValidationReport) -> ValidationReport:
    return ValidationReport(
        node=message.node,
        backend=message.backend,
        device=message.device,
        load_duration_ns=nanoseconds(message.load_duration),
        infer_duration_ns=nanoseconds(message.infer_duration),
        complete_time_ns=nanoseconds(message.complete_time),
        probes=tuple(Probe(one.name, _outcome(one.outcome), one.detail) for one in message.probes),
        batches=tuple(BatchMeasurement(one.rows, nanoseconds(one.duration), one.peak_bytes) for one in message.batches),
        resident_bytes=message.resident_bytes,
        libraries=tuple(message.libraries),
    )


def _outcome(number: int) -> ProbeOutcome:
    """A newer agent may have more of them."""
    try:
        return ProbeOutcome(number)
    except ValueError:
        return ProbeOutcome.UNSPECIFIED


def verdict_from_pb(request: api.ReportValidationRequest) -> Verdict:
    return Verdict(
        node=ids.check_node(request.node),
        rejection=request.rejection,
        signature=_signature_from_pb(request.signature) if request.HasField("signature") else None,
        format=ids.check_format(request.format),
        report=_report_from_pb(request.validation_report),
        handed_back=request.handed_back,
    )
