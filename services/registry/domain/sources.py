"""Places that are watched for new versions: what may be asked for, and what is taken of what is found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from services.common import names
from services.common.errors import InvalidArgumentError
from services.registry.domain.resources import ModelVersion, Trust, VersionState
from services.registry.domain.source_progress import MOST_TEXT, Progress

_SECOND_NS = 10**9
DAY_NS = 86_400 * _SECOND_NS
DEFAULT_POLL_NS = 30 * _SECOND_NS
DEFAULT_SETTLE_NS = 2 * _SECOND_NS
DEFAULT_CHECK_NS = 600 * _SECOND_NS
DEFAULT_ALIAS = "champion"

_NEEDED = {
    "folder": ("path",),
    "bucket": ("uri",),
    "mlflow": ("tracking_uri", "registered_model"),
    "dvc": ("repository", "path"),
    "wandb": ("path",),
}
"""By kind of location, the fields that must be given."""
_BUCKET = re.compile(r"(s3|gs)://[^/@?#\s]+(/[^?#]*)?")
_WITH_CREDENTIALS = re.compile(r"\w+://[^/]*@")


class SourceState(IntEnum):
    """How it goes with a source."""

    WATCHING = 1
    BRINGING = 2
    FAILING = 3
    PAUSED = 4


@dataclass(frozen=True, slots=True)
class Location:
    """Where to look: the kind of place, and its fields by the API's names."""

    kind: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceTrust:
    """What is taken of a source."""

    is_trusted: bool = False
    is_signature_required: bool = False
    key_set: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A place that is watched for new versions of one model, given by its id. ``plan`` is the API's message as JSON."""

    id: str
    model: str
    location: Location
    poll_ns: int = 0
    settle_ns: int | None = None
    check_ns: int = 0
    trust: SourceTrust = SourceTrust()
    format: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] | None = None
    is_paused: bool = False
    create_time_ns: int = 0
    update_time_ns: int = 0
    creator: str = ""
    etag: str = ""
    progress: Progress = field(default_factory=Progress)

    @property
    def name(self) -> str:
        return names.source_name(self.id)

    @property
    def state(self) -> SourceState:
        if self.is_paused:
            return SourceState.PAUSED
        if self.progress.bringing:
            return SourceState.BRINGING
        return SourceState.FAILING if self.progress.failure or self.progress.refusal else SourceState.WATCHING

    @property
    def state_reason(self) -> str:
        known = self.progress
        return known.failure or known.waiting or known.refusal or known.note


FIELDS = ("location", "poll_duration", "settle_duration", "check_duration", "trust", "format", "manifest", "plan")
"""What an update may change, by the API's names, besides ``is_paused``."""
_ATTRIBUTES = {"poll_duration": "poll_ns", "settle_duration": "settle_ns", "check_duration": "check_ns"}
_CHANGES_WHAT_IS_TAKEN = ("location", "trust", "format", "manifest")


def normalise(source: Source) -> Source:
    """Write defaults out.

    Raises:
        InvalidArgumentError: something is missing, or out of its range.
    """
    return replace(
        source,
        location=_checked_location(source.location),
        poll_ns=_span("poll_duration", source.poll_ns or DEFAULT_POLL_NS, least=_SECOND_NS, most=DAY_NS),
        settle_ns=_span(
            "settle_duration",
            DEFAULT_SETTLE_NS if source.settle_ns is None else source.settle_ns,
            least=0,
            most=3600 * _SECOND_NS,
        ),
        check_ns=_span("check_duration", source.check_ns or DEFAULT_CHECK_NS, least=_SECOND_NS, most=DAY_NS),
    )


def merged(present: Source, wanted: Source, *, paths: tuple[str, ...]) -> Source:
    """``present`` with what ``paths`` name taken from ``wanted``; no path means all. Other content is looked for anew.

    Raises:
        InvalidArgumentError: a path is none that may be changed, or a value is unfit.
    """
    allowed = (*FIELDS, "is_paused")
    chosen = allowed if paths in ((), ("*",)) else paths
    if unknown := sorted(set(chosen) - set(allowed)):
        raise InvalidArgumentError(f"got {', '.join(unknown)} in update_mask, expected some of {', '.join(allowed)}")
    attributes = [_ATTRIBUTES.get(path, path) for path in chosen]
    changed = normalise(replace(present, **{one: getattr(wanted, one) for one in attributes}))
    if any(getattr(changed, one) != getattr(present, one) for one in _CHANGES_WHAT_IS_TAKEN):
        return replace(changed, progress=replace(changed.progress, seen="", failure="", refusal=""))
    return changed


def is_due(source: Source, *, now_ns: int) -> bool:
    """Whether to look at the place now. A clock that was set back is no reason to wait."""
    return not source.is_paused and not 0 <= now_ns - source.progress.check_time_ns < source.poll_ns


def same_as(candidates: list[ModelVersion], wanted: ModelVersion) -> ModelVersion | None:
    """The newest of a model's versions, newest first, that is just what would be created; archived ones don't count."""
    return next((one for one in candidates if _is_same(one, wanted)), None)


def _is_same(present: ModelVersion, wanted: ModelVersion) -> bool:
    return (
        present.digest == wanted.digest
        and present.trusted == wanted.trusted
        and dict(present.manifest) == dict(wanted.manifest)
        and wanted.format in ("", present.format)
        and present.state is not VersionState.ARCHIVED
    )


def check_signed(trust: Trust, wanted: SourceTrust) -> str:
    """Why a source that asks for a signature doesn't take a version; empty where it does."""
    if not wanted.is_signature_required:
        return ""
    expected = f"a signature by a key of keySets/{wanted.key_set}" if wanted.key_set else "a signature by a known key"
    if trust.outcome.name != "VERIFIED":
        return f"the source takes nothing without {expected}: its signature is {trust.outcome.name}"
    if wanted.key_set and not trust.signing_key.startswith(f"keySets/{wanted.key_set}/"):
        return f"the source takes nothing without {expected}: it is signed by {trust.signing_key}"
    return ""


def _checked_location(location: Location) -> Location:
    needed = _NEEDED.get(location.kind)
    if needed is None:
        raise InvalidArgumentError(f"got no location, expected one of {', '.join(_NEEDED)}")
    for name, value in location.fields.items():
        if len(value) > MOST_TEXT or "\0" in value or _WITH_CREDENTIALS.match(value):
            raise InvalidArgumentError(
                f"got a {location.kind}.{name} of {len(value)} characters, expected at most {MOST_TEXT}, none of them "
                "NUL, and no credentials: the registry finds these where the library looks"
            )
    if missing := [name for name in needed if not location.fields.get(name)]:
        raise InvalidArgumentError(f"got no {location.kind}.{missing[0]}, expected one")
    _check_place(location)
    if location.kind == "mlflow" and not location.fields.get("alias"):
        return Location("mlflow", {**location.fields, "alias": DEFAULT_ALIAS})
    return location


def _check_place(location: Location) -> None:
    """Raises: InvalidArgumentError: a path or URI has the wrong form."""
    path = location.fields.get("path", "")
    if location.kind in ("folder", "wandb") and not path.startswith("/"):
        raise InvalidArgumentError(f"got {location.kind}.path {path!r}, expected an absolute path")
    if location.kind == "dvc" and (path.startswith("/") or ".." in path.split("/")):
        raise InvalidArgumentError(f"got dvc.path {path!r}, expected one relative to the repository")
    if location.kind == "bucket" and _BUCKET.fullmatch(location.fields["uri"]) is None:
        raise InvalidArgumentError(
            f"got bucket.uri {location.fields['uri']!r}, expected s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
        )


def _span(name: str, ns: int, *, least: int, most: int) -> int:
    if not least <= ns <= most:
        raise InvalidArgumentError(f"got {name} of {ns / 1e9:g} s, expected {least / 1e9:g} s to {most / 1e9:g} s")
    return ns
