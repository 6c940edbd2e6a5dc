"""A model's files on this node."""

from __future__ import annotations

import zipfile
from functools import cached_property
from pathlib import Path

from penstock import manifests, signatures
from services.inference.backends import archives
from services.inference.backends.errors import LoadError

_ABOUT = (signatures.FILENAME, manifests.FILENAME)
PRODUCT = "~"
"""Stands between the name of a model's folder and what else is kept beside it, such as native code made of it."""


class ModelFiles:
    """One file, or what lies below a folder. Names are relative paths, with "/" between folders."""

    def __init__(self, root: Path, *, workshop: Path | None = None) -> None:
        """``workshop`` is where something new is made of the model, beside which nothing can be written."""
        self.root = root
        self._workshop = workshop

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All files, sorted; what is said of them, signature and manifest, left out."""
        if self.root.is_file():
            return (self.root.name,)
        found = (one.relative_to(self.root).as_posix() for one in self.root.rglob("*") if one.is_file())
        return tuple(sorted(name for name in found if name not in _ABOUT))

    @property
    def only(self) -> str:
        """The name of the only file; empty where there are several."""
        return self.names[0] if len(self.names) == 1 else ""

    def main(self, suffix: str) -> str:
        """The name of the only file, or of the only one of several whose name ends so; empty where there is none."""
        names = [self.only] if self.only else [name for name in self.names if name.endswith(suffix)]
        return names[0] if len(names) == 1 else ""

    def path(self, name: str) -> Path:
        return self.root if self.root.is_file() else self.root / name

    def product(self, name: str) -> Path:
        """Where something that is made of the model is kept, or to be made."""
        kept = self.root.with_name(f"{self.root.name}{PRODUCT}{name}")
        return kept if self._workshop is None or kept.exists() else self._workshop / kept.name

    @property
    def products(self) -> list[Path]:
        """All that was made of the model."""
        return list(self.root.parent.glob(f"{self.root.name}{PRODUCT}*"))

    def head(self, name: str, size: int = 16) -> bytes:
        """The first bytes of a file."""
        with self.path(name).open("rb") as file:
            return file.read(size)

    def is_archive(self, name: str) -> bool:
        """Whether a file begins as a ZIP archive does."""
        return bool(name) and self.head(name).startswith(b"PK\x03\x04")

    def archived(self, name: str) -> set[str]:
        """What a ZIP archive holds, without its outermost folder.

        Raises:
            LoadError: it is damaged.
        """
        try:
            with zipfile.ZipFile(self.path(name)) as archive:
                return {one.partition("/")[2] or one for one in archive.namelist()}
        except archives.DAMAGE as error:
            raise LoadError(f"{name} is a damaged archive: {error}") from error

    @property
    def size_bytes(self) -> int:
        return sum(self.path(name).stat().st_size for name in self.names)
