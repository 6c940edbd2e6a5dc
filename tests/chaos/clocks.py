"""Clocks that can be set: libfaketime, for the processes of one host. Monotonic clocks stay as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PLACES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
_NAME = "faketime/libfaketime*.so.1"


def library() -> Path | None:
    """libfaketime, where LIBFAKETIME says or where packages put it."""
    if named := os.environ.get("LIBFAKETIME"):
        return Path(named)
    found = (path for place in _PLACES for path in Path(place).glob(f"**/{_NAME}") if "MT" not in path.name)
    return next(found, None)


class Clock:
    """The clock of the processes that were started with :attr:`environ`; they look at it every second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._library = library()
        self.obstacle = "" if self._library is not None else "libfaketime is not installed"

    @property
    def environ(self) -> Mapping[str, str]:
        if self._library is None:
            return {}
        self.set(0)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Let it be ahead by so many seconds, or behind."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s")
        fresh.replace(self._path)
