"""What happens to sources: what people ask for, and what is written down of each look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.common import names
from services.common.errors import AlreadyExistsError, FailedPreconditionError, InvalidArgumentError
from services.registry import audit, models, versions
from services.registry.adapters import request_rows, source_rows, tables
from services.registry.adapters.codec.rollouts import wanted_plan_from_pb
from services.registry.adapters.codec.sources import plan_to_pb
from services.registry.adapters.transaction import Transaction
from services.registry.domain import etags, ids, limits, paging, rollout_plans, source_progress
from services.registry.domain import sources as domain
from services.registry.domain.resources import Lineage, Model, ModelVersion, SigningKey, VersionState
from services.registry.domain.source_progress import Delivered
from services.registry.domain.sources import Source


def create_source(tx: Transaction, wanted: Source, *, request_id: str) -> Source:
    """Begin to watch a place, for a model that is created if there is none of its name."""
    names.model_id(wanted.id)
    names.model_id(wanted.model)
    wanted = domain.normalise(wanted)
    _check(tx, wanted)
    request_id = ids.check_request_id(request_id)
    if request_id and (first := request_rows.find(tx, request_id)) is not None:
        if first[0] != wanted.name:
            raise InvalidArgumentError(f"got request_id {request_id} for {wanted.name}, it was used for {first[0]}")
        return source_rows.get(tx, wanted.id)
    if source_rows.find(tx, wanted.id) is not None:
        raise AlreadyExistsError(f"{wanted.name} exists, expected an id that is free")
    if tx.find(Model, wanted.model) is None:
        models.create_model(tx, Model(id=wanted.model), request_id="")
    source = source_rows.put(tx, replace(wanted, create_time_ns=tx.now_ns, creator=tx.caller.actor))
    if request_id:
        request_rows.put(tx, request_id, target=source.name, body=b"")
    _record(tx, "source.create", source)
    return source


def get_source(tx: Transaction, name: str) -> Source:
    return source_rows.get(tx, ids.parse_source(name))


def list_sources(tx: Transaction, *, size: int, token: str) -> tuple[list[Source], str]:
    """A page of sources by name, and the token of the next one (empty after the last)."""
    page = paging.parse("sources", key_types=(str,), size=size, token=token)
    found = source_rows.page(tx, after=str(page.after[0]) if page.after else "", limit=page.size + 1)
    if len(found) <= page.size:
        return found, ""
    found.pop()
    return found, page.next_token((found[-1].id,))


def update_source(tx: Transaction, wanted: Source, *, paths: Sequence[str]) -> Source:
    present = source_rows.get(tx, wanted.id)
    etags.check(present.name, present=present.etag, given=wanted.etag)
    changed = domain.merged(present, wanted, paths=tuple(paths))
    _check(tx, changed)
    source = source_rows.put(tx, changed)
    _record(tx, "source.update", source)
    return source


def delete_source(tx: Transaction, name: str, *, etag: str) -> None:
    """Watch a place no more. What it brought stays, and so do rollouts under way."""
    source = get_source(tx, name)
    etags.check(source.name, present=source.etag, given=etag)
    source_rows.remove(tx, source)
    _record(tx, "source.delete", source)


def note_look(tx: Transaction, source: str, *, waiting: str = "") -> None:
    """Write down that there was nothing to take."""
    if (present := source_rows.find(tx, source)) is not None:
        source_rows.note(tx, present, source_progress.looked(present.progress, now_ns=tx.now_ns, waiting=waiting))


def note_failure(tx: Transaction, source: str, why: str) -> None:
    """Write down that it could not be looked at."""
    if (present := source_rows.find(tx, source)) is not None:
        source_rows.note(tx, present, source_progress.failed(present.progress, now_ns=tx.now_ns, why=why))


def note_refusal(tx: Transaction, source: str, *, seen: str, revision: str, why: str) -> None:
    """Write down that what was found can't be served."""
    if (present := source_rows.find(tx, source)) is not None:
        progress = source_progress.refused(present.progress, now_ns=tx.now_ns, seen=seen, revision=revision, why=why)
        source_rows.note(tx, present, progress)


def bring(
    tx: Transaction,
    looked_at: Source,
    wanted: ModelVersion,
    copies: Mapping[str, bytes],
    *,
    seen: str,
    is_forced: bool = False,
) -> ModelVersion | None:
    """Make a version of what was found at a source, unless the model has it already. None: the source is gone by now.

    Raises:
        FailedPreconditionError: the source doesn't take it, or its content was rejected before; nothing is created.
    """
    source = source_rows.find(tx, looked_at.id)
    if source is None or source.etag != looked_at.etag:
        return None  # deleted, or asked for something else meanwhile: the next look is by that
    present = domain.same_as(tx.page(ModelVersion, model=source.model), wanted)
    if present is not None and present.state is VersionState.REJECTED:
        if not is_forced:
            raise FailedPreconditionError(
                f"its content is that of version {present.number}, which was rejected: {present.state_reason}"
            )
        present = None
    if present is not None and present.name == source.progress.version and not is_forced:
        # Written anew and the same: how its rollout ended, if it did, stands.
        again = replace(source_progress.looked(source.progress, now_ns=tx.now_ns), seen=seen)
        source_rows.note(tx, source, again)
        return present
    version = present or versions.create_version(tx, _with_lineage(source, wanted), copies, request_id="")
    if why := domain.check_signed(version.trust, source.trust):
        raise FailedPreconditionError(why)
    progress = source_progress.brought(
        source.progress,
        version.name,
        now_ns=tx.now_ns,
        seen=seen,
        revision=wanted.lineage.revision,
        is_new=present is None,
    )
    source_rows.note(tx, source, progress)
    return version


def note_delivery(tx: Transaction, source: str, version: str, delivered: Delivered) -> None:
    """Write down how far what a source brought is, if nothing newer has taken its place."""
    present = source_rows.find(tx, source)
    if present is None or present.progress.bringing != version:
        return
    if not delivered.is_over:
        if delivered.text != present.progress.note:
            source_rows.note(tx, present, replace(present.progress, note=delivered.text))
        return
    progress = source_progress.concluded(
        present.progress,
        delivered.text,
        now_ns=tx.now_ns,
        rollout=delivered.rollout,
        is_failure=delivered.is_failure,
    )
    source_rows.note(tx, present, progress)


def _with_lineage(source: Source, wanted: ModelVersion) -> ModelVersion:
    lineage = replace(wanted.lineage, source=source.name, predecessor=source.progress.version)
    return replace(wanted, lineage=_shortened(lineage))


def _shortened(lineage: Lineage) -> Lineage:
    """Within the limits of what callers may write: what a place says of itself may be longer."""
    facts = sorted(lineage.facts.items())[: limits.MAX_LABELS]
    return replace(
        lineage,
        origin=lineage.origin[: limits.MAX_WORDS],
        revision=lineage.revision[: limits.MAX_WORDS],
        facts={key[: limits.MAX_LABEL]: value[: limits.MAX_WORDS] for key, value in facts},
    )


def _check(tx: Transaction, source: Source) -> None:
    """Raises: FailedPreconditionError: nobody could sign for it. InvalidArgumentError: manifest or plan are unfit."""
    limits.check_manifest(source.manifest)
    if source.plan is not None:
        rollout_plans.complete(wanted_plan_from_pb(plan_to_pb(source)))
    if not (key_set := source.trust.key_set):
        return
    names.model_id(key_set)
    if not tx.select(SigningKey, tables.signing_keys.c.key_set == key_set, limit=1):
        raise FailedPreconditionError(f"keySets/{key_set} has no key, expected one before signatures are asked for")


def _record(tx: Transaction, action: str, source: Source) -> None:
    about: dict[str, Any] = {
        "location": {"kind": source.location.kind, **source.location.fields},
        "is_trusted": source.trust.is_trusted,
        "is_signature_required": source.trust.is_signature_required,
        "key_set": source.trust.key_set,
        "is_paused": source.is_paused,
        "strategy": (source.plan or {}).get("strategy", "") if source.plan is not None else None,
    }
    audit.record(tx, action, source.name, model=source.model, **about)
