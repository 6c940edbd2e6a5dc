"""What the registry asks of a look, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self


class Outcome(StrEnum):
    """What came of a look."""

    UNCHANGED = "unchanged"
    """It is what was seen before."""
    UNSETTLED = "unsettled"
    """It is empty, or still being written."""
    FOUND = "found"
    """It was copied, and is whole."""
    REFUSED = "refused"
    """It is whole, and nothing that could be served."""
    FAILED = "failed"
    """It can't be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Where to look. What is found there goes to ``scratch``, a folder, unless its fingerprint is ``seen``."""

    kind: str
    fields: Mapping[str, str]
    settle_s: float
    seen: str
    scratch: str

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a model: its place in it, its content, and where its copy is."""

    place: str
    sha256: str
    size_bytes: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of it. ``text`` is for people; ``manifest`` is the API's message as JSON."""

    outcome: Outcome
    text: str = ""
    fingerprint: str = ""
    revision: str = ""
    origin: str = ""
    files: tuple[FoundFile, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises: ValueError, TypeError, KeyError: it is no answer."""
        found = json.loads(text)
        files = tuple(FoundFile(**one) for one in found.pop("files"))
        return cls(**{**found, "outcome": Outcome(found["outcome"]), "files": files})
