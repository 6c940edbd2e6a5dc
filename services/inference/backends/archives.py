"""Looks at ZIP archives before any library unpacks them: what they would take, and where they would put it."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from services.common import model_paths
from services.common.errors import InvalidArgumentError
from services.inference.backends.errors import LoadError

MAX_ENTRIES = 65_536
MAX_DEPTH = 3
"""How deep archives may lie within archives: those of torch.export hold others."""
_FREE_BYTES = 64 << 20
_MAX_RATIO = 100
"""What is larger than that must not be so many times as large as it is packed: weights hardly get smaller at all."""
_MAGIC = b"PK\x03\x04"
DAMAGE = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError)
"""What zipfile raises of damaged archives."""


class _Budget:
    """What an archive with all archives in it may hold."""

    def __init__(self, packed_bytes: int) -> None:
        self._bytes = self._all = max(_FREE_BYTES, _MAX_RATIO * packed_bytes)
        self._entries = MAX_ENTRIES

    def spend(self, entries: list[zipfile.ZipInfo]) -> None:
        self._entries -= len(entries)
        self._bytes -= sum(one.file_size for one in entries)
        if self._entries < 0:
            raise LoadError(f"it holds more than {MAX_ENTRIES} files")
        if self._bytes < 0:
            raise LoadError(f"unpacked it would take more than {self._all >> 20} MiB, {_MAX_RATIO} times its size")


def check(path: Path) -> None:
    """Refuse an archive that lies, or that is made to fill a disk or to write elsewhere.

    Raises:
        LoadError: the message says why.
    """
    try:
        with path.open("rb") as file:
            _check(file, _Budget(path.stat().st_size), depth=1)
    except LoadError as error:
        raise LoadError(f"{path.name} is no archive that is unpacked: {error}") from None
    except DAMAGE as error:
        raise LoadError(f"{path.name} is a damaged archive: {error}") from None


def _check(file: IO[bytes], budget: _Budget, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise LoadError(f"archives lie in it deeper than {MAX_DEPTH} levels")
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        budget.spend(entries)
        for entry in entries:
            _check_place(entry)
        if sum(one.compress_size for one in entries) > size:
            raise LoadError("its files overlap")
        if len({one.filename for one in entries}) < len(entries):
            raise LoadError("it holds two files of one name")
        for inner in _archives_in(archive, entries):
            _check(inner, budget, depth=depth + 1)


def _check_place(entry: zipfile.ZipInfo) -> None:
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise LoadError(f"{entry.filename[:80]!r} in it is a symbolic link")
    try:
        model_paths.check(entry.filename.removesuffix("/").replace(":", "_"))
    except InvalidArgumentError:
        raise LoadError(f"{entry.filename[:80]!r} in it leads elsewhere") from None


def _archives_in(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> Iterator[IO[bytes]]:
    for entry in entries:
        if entry.file_size < len(_MAGIC):
            continue
        with archive.open(entry) as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                continue
            if entry.compress_type == zipfile.ZIP_STORED:
                yield file
            elif entry.file_size > _FREE_BYTES:
                raise LoadError(f"{entry.filename[:80]!r} in it is an archive of more than {_FREE_BYTES >> 20} MiB")
            else:
                yield io.BytesIO(_MAGIC + file.read())
