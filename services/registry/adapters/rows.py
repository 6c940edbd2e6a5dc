"""Resources as rows: one :class:`Kind` for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Select, Table, and_, or_, select

from services.common import names
from services.common.trust import Outcome
from services.registry.adapters import tables
from services.registry.domain.paging import Key
from services.registry.domain.resources import (
    Alias,
    Artifact,
    BatchingConfig,
    BatchMeasurement,
    Deployment,
    FeedbackConfig,
    InstanceState,
    InstanceStatus,
    Lineage,
    Model,
    ModelVersion,
    Optimization,
    OptimizationLevel,
    OptimizationState,
    Placement,
    Probe,
    ProbeOutcome,
    Quarantine,
    QueueConfig,
    Resource,
    Signature,
    SigningKey,
    Slo,
    TensorSpec,
    TrafficSplit,
    Trust,
    TrustPolicy,
    ValidationReport,
    Variant,
    VariantMeasurement,
    VariantTrial,
    VersionState,
)

R = TypeVar("R", Model, ModelVersion, Alias, Deployment, SigningKey)


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """How one kind of resource is kept.

    ``field`` is its field in the watch stream's message; ``key`` has the columns of its primary key, which lists are
    sorted by: upwards, but numbers (of versions) downwards.
    """

    field: str
    table: Table
    key: Mapping[str, type]
    name_of: Callable[..., str]
    to_row: Callable[[R], dict[str, Any]]
    from_row: Callable[[Row[Any]], R]

    def statement(self) -> Select[Any]:
        """Selects all of them, in order."""
        order = [self.table.c[name].desc() if kind is int else self.table.c[name] for name, kind in self.key.items()]
        return select(self.table).order_by(*order)

    def is_key(self, key: Key) -> ColumnElement[bool]:
        """Matches one of them."""
        return and_(*(self.table.c[column] == part for column, part in zip(self.key, key, strict=True)))

    def is_after(self, key: Key) -> ColumnElement[bool]:
        """Matches what comes after ``key`` in the list."""
        columns = [self.table.c[column] for column in self.key]
        beyond = [
            column < part if isinstance(part, int) else column > part for column, part in zip(columns, key, strict=True)
        ]
        return beyond[0] if len(key) == 1 else or_(beyond[0], and_(columns[0] == key[0], beyond[1]))

    def key_of(self, resource: R) -> Key:
        row = self.to_row(resource)
        return tuple(row[column] for column in self.key)


def _model_row(model: Model) -> dict[str, Any]:
    return {
        "model": model.id,
        "description": model.description,
        "labels": dict(model.labels),
        "last_version": model.last_version,
        "trust_policy": asdict(model.trust_policy),
        "create_time_ns": model.create_time_ns,
        "update_time_ns": model.update_time_ns,
        "etag": model.etag,
    }


def _model(row: Row[Any]) -> Model:
    columns = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row's columns
    policy = TrustPolicy(**columns.pop("trust_policy"))
    return Model(id=columns.pop("model"), trust_policy=policy, **columns)


def _version_row(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.number,
        "files": [asdict(one) for one in version.files],
        "size_bytes": sum(one.size_bytes for one in version.files),
        "format": version.format,
        "trusted": version.trusted,
        "manifest": dict(version.manifest),
        "signature": None if version.signature is None else asdict(version.signature),
        "state": int(version.state),
        "state_reason": version.state_reason,
        "validation_report": None if version.validation_report is None else asdict(version.validation_report),
        "metrics": dict(version.metrics),
        "labels": dict(version.labels),
        "create_time_ns": version.create_time_ns,
        "update_time_ns": version.update_time_ns,
        "etag": version.etag,
        "claim_node": version.claim_node,
        "claim_end_ns": version.claim_end_ns,
        "optimizations": [asdict(one) for one in version.optimizations],
        "trust": asdict(version.trust),
        "lineage": asdict(version.lineage),
    }


def _version(row: Row[Any]) -> ModelVersion:
    return ModelVersion(
        model=row.model,
        number=row.version,
        files=tuple(Artifact(**one) for one in row.files),
        format=row.format,
        trusted=row.trusted,
        manifest=row.manifest,
        signature=None if row.signature is None else _signature(row.signature),
        state=VersionState(row.state),
        state_reason=row.state_reason,
        validation_report=None if row.validation_report is None else _report(row.validation_report),
        metrics=row.metrics,
        labels=row.labels,
        create_time_ns=row.create_time_ns,
        update_time_ns=row.update_time_ns,
        etag=row.etag,
        claim_node=row.claim_node,
        claim_end_ns=row.claim_end_ns,
        optimizations=tuple(map(_optimization, row.optimizations)),
        trust=Trust(**{**row.trust, "outcome": Outcome(row.trust.get("outcome", 0))}),
        lineage=Lineage(**{**row.lineage, "parents": tuple(row.lineage.get("parents", ()))}),
    )


def _report(json: Mapping[str, Any]) -> ValidationReport:
    probes = tuple(Probe(**{**one, "outcome": ProbeOutcome(one["outcome"])}) for one in json.get("probes", ()))
    batches = tuple(BatchMeasurement(**one) for one in json.get("batches", ()))
    libraries = tuple(json.get("libraries", ()))
    return ValidationReport(**{**json, "probes": probes, "batches": batches, "libraries": libraries})


def _optimization(json: Mapping[str, Any]) -> Optimization:
    return Optimization(
        **{
            **json,
            "level": OptimizationLevel(json["level"]),
            "state": OptimizationState(json["state"]),
            "variant": _variant(json["variant"]),
            "trials": tuple(map(_trial, json["trials"])),
        }
    )


def _trial(json: Mapping[str, Any]) -> VariantTrial:
    measurements = tuple(VariantMeasurement(**one) for one in json["measurements"])
    return VariantTrial(**{**json, "variant": _variant(json["variant"]), "measurements": measurements})


def _variant(json: Sequence[Sequence[str]]) -> Variant:
    return tuple((name, value) for name, value in json)


def _signature(json: Mapping[str, Any]) -> Signature:
    def tensors(role: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(one["name"], one["datatype"], tuple(one["shape"]), tuple(one.get("labels", ())))
            for one in json[role]
        )

    return Signature(
        tensors("inputs"),
        tensors("outputs"),
        json["batchable"],
        json["max_batch_size"],
        json.get("decoupled", False),
    )


def _alias_row(alias: Alias) -> dict[str, Any]:
    row = asdict(alias)
    return {"alias": row.pop("id"), **row}


def _alias(row: Row[Any]) -> Alias:
    return Alias(model=row.model, id=row.alias, version=row.version, update_time_ns=row.update_time_ns, etag=row.etag)


def _deployment_row(deployment: Deployment) -> dict[str, Any]:
    row = asdict(deployment)
    del row["instances"]
    return {**row, "optimization": int(deployment.optimization)}


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(
        model=row.model,
        versions=tuple(row.versions),
        replicas=row.replicas,
        batching=BatchingConfig(**row.batching),
        queue=QueueConfig(**row.queue),
        optimization=OptimizationLevel(row.optimization),
        placements=tuple(Placement(**one) for one in row.placements),
        pinned=row.pinned,
        slo=Slo(**row.slo),
        quarantines=tuple(Quarantine(**one) for one in row.quarantines),
        split=None if row.split is None else TrafficSplit(**row.split),
        feedback=FeedbackConfig(**row.feedback),
        create_time_ns=row.create_time_ns,
        update_time_ns=row.update_time_ns,
        etag=row.etag,
    )


def _signing_key_row(key: SigningKey) -> dict[str, Any]:
    row = asdict(key)
    return {"key": row.pop("id"), **row}


def _signing_key(row: Row[Any]) -> SigningKey:
    columns = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row's columns
    return SigningKey(id=columns.pop("key"), **columns)


def instance_row(status: InstanceStatus, *, model: str) -> dict[str, Any]:
    return {**asdict(status), "state": int(status.state), "model": model}


def instance(row: Row[Any]) -> InstanceStatus:
    columns = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row's columns
    del columns["model"]
    return InstanceStatus(**{**columns, "state": InstanceState(row.state), "variant": _variant(row.variant)})


KINDS: dict[type[Resource], Kind[Any]] = {
    SigningKey: Kind(
        "signing_key",
        tables.signing_keys,
        {"key_set": str, "key": str},
        names.signing_key_name,
        _signing_key_row,
        _signing_key,
    ),
    Model: Kind("model", tables.models, {"model": str}, names.model_name, _model_row, _model),
    ModelVersion: Kind(
        "model_version", tables.versions, {"model": str, "version": int}, names.version_name, _version_row, _version
    ),
    Alias: Kind("alias", tables.aliases, {"model": str, "alias": str}, names.alias_name, _alias_row, _alias),
    Deployment: Kind(
        "deployment", tables.deployments, {"model": str}, names.deployment_name, _deployment_row, _deployment
    ),
}
"""Every kind of resource, parents before children."""
