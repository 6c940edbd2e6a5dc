"""Whether what a node keeps is still what it fetched. Everything here blocks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from services.inference.adapters.cache_folder import CacheFolder
from services.inference.adapters.downloads import digest_of
from services.inference.domain.content import Content

_Mark = tuple[int, int, int]
"""Of a file as it was when it was hashed: its number, size and time of change, which nobody can set back."""


class Integrity:
    """Hashes content of a cache: once in this process' life, and whenever it was changed since, or is in doubt."""

    def __init__(self, folder: CacheFolder) -> None:
        self._folder = folder
        self._proven: dict[str, _Mark] = {}

    def mend(self, content: Content) -> bool:
        """Remove what isn't what it is to be of a model, so that it is missing; whether there was any."""
        damaged = [file.sha256 for file in content.files if not self._is_missing_or_whole(file.sha256)]
        for sha256 in damaged:
            self._folder.content(sha256).unlink(missing_ok=True)
        has_model = self._folder.model(content.digest).exists()
        if has_model and not self._folder.is_assembled(content):
            self._folder.remove_model(content.digest)
            return True
        return bool(damaged)

    def _is_missing_or_whole(self, sha256: str) -> bool:
        path = self._folder.content(sha256)
        try:
            if self._proven.get(sha256) == (before := _mark(path)):
                return True
            if digest_of(path) != sha256:
                return False
        except FileNotFoundError:
            return True
        except OSError:  # the disk can't read it any more
            return False
        self._proven[sha256] = before
        return True

    def note(self, content: Content) -> None:
        """Take content as it is now for whole: it was hashed on its way, or linked just now, which marks it anew."""
        self._proven |= {file.sha256: _mark(self._folder.content(file.sha256)) for file in content.files}

    def doubt(self, content: Content) -> None:
        """Hash it again the next time, changed or not."""
        for file in content.files:
            self._proven.pop(file.sha256, None)

    def keep_only(self, files: Collection[str]) -> None:
        """Forget what is gone."""
        proven = self._proven.copy()  # a thread may be hashing
        self._proven = {sha256: mark for sha256, mark in proven.items() if sha256 in files}


def _mark(path: Path) -> _Mark:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_ctime_ns
