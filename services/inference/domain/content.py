"""What a version is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file, and where it lies within the model: a relative path with "/" between folders."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Content:
    """All files of a version. ``digest`` stands for all of them, and their places."""

    digest: str
    files: tuple[ModelFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.files)
