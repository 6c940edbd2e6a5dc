"""What is stored and of no use to anybody."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class GarbageKind(Enum):
    """The names are those of Garbage.Kind."""

    CONTENT = "CONTENT"
    """No version names it."""
    UPLOAD = "UPLOAD"
    """Nobody went on with it."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A piece of it. ``failure`` says why it is still there."""

    kind: GarbageKind
    sha256: str
    size_bytes: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """Content, and the key that it is stored under."""

    sha256: str
    size_bytes: int
    key: str
