"""A model that another tool packed, as Penstock would deploy it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.registry.v1.resources_pb2 import Manifest
from penstock.serving import UNCHANGED, Serving


class ForeignModelError(ValueError):
    """It can't be imported; the message says what was found and why not."""


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """``path`` is the model itself, a file or a folder; ``left_out`` is what is not taken over, for people."""

    name: str
    path: Path
    manifest: Manifest = field(default_factory=Manifest)
    serving: Serving = UNCHANGED
    labels: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()


def inside(folder: Path, name: str) -> Path:
    """A file or folder of a package, by the name that the package's own description gives.

    Raises:
        ForeignModelError: there is none of that name, or it lies elsewhere.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ForeignModelError(f"got {name!r}, expected something in {folder}")
    if not name or not path.exists():
        raise ForeignModelError(f"{folder} names {name!r}, which is not there")
    return path
