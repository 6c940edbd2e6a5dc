"""What is written down of one version, or of one rollout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from penstock.errors import PenstockError


class RecordsError(PenstockError):
    """Records can't be written; the message says why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number at a step: of a rollout its step, of a batch its rows. ``time_ms`` is Unix time."""

    name: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """``resource`` is the name of the version or rollout, ``title`` what people call it; ``text`` is Markdown.

    ``is_good`` is whether a version can be served, or a rollout was promoted.
    """

    resource: str
    model: str
    title: str
    is_good: bool
    start_ms: int
    end_ms: int
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    figures: Sequence[Figure]
    text: str

    @property
    def place(self) -> str:
        """A relative path for it: "digits/version-3" or "digits/rollout-1"."""
        kind, number = self.resource.split("/")[2:]
        return f"{self.model}/{kind.removesuffix('s')}-{number}"

    @property
    def digest(self) -> str:
        """Of all that it says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
