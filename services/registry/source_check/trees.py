"""Files below a place, wherever that is: listed, and copied once they stay the same."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MOST_FILES = 4096
"""That a version may have."""
_ABANDONED_S = 3600.0
"""What looks half-written and was not touched for so long is nobody's work any more."""
_UNFINISHED = re.compile(
    r"(.*\.(tmp|temp|part|partial|partfile|filepart|incomplete|crdownload|download|swp|swx|lock|inprogress)"
    r"|.*~|~.*|.*\._COPYING_|_temporary|tmp[-_.].*|\.~.*)",
    re.IGNORECASE,
)
"""Names that are given to what isn't whole yet."""


class UnsettledError(Exception):
    """It is still being written, or there is nothing yet; the message says what."""


class PlaceError(Exception):
    """It can't be looked at; the message says why."""


class UnfitError(Exception):
    """It can be looked at, and is nothing that could be served; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its size, -1 where not known, and what changes whenever its content does.

    ``changed_s`` is Unix time, 0 where not known.
    """

    size_bytes: int
    stamp: str
    changed_s: float = 0.0


Listing = Mapping[str, Entry]
"""Files by their places, with "/" between folders."""


class Tree(Protocol):
    """Files below a place."""

    def list(self) -> Listing:
        """All of them, as they are now.

        Raises:
            PlaceError: it can't be looked at.
        """
        ...

    def copy(self, place: str, target: Path) -> None:
        """Copy one of them. The folder of ``target`` exists.

        Raises:
            PlaceError: it can't be read.
            UnsettledError: it is gone.
        """
        ...


class LocalTree:
    """A folder of this machine, or a single file."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self) -> Listing:
        found: dict[str, Entry] = {}
        try:
            if not stat.S_ISDIR(self._root.stat().st_mode):
                return {self._root.name: _entry(self._root, self._root.name)}
            self._add(self._root, "", found)
        except FileNotFoundError:
            raise PlaceError(f"there is no {self._root}") from None
        except OSError as error:
            raise PlaceError(f"{self._root} can't be read: {error.strerror}") from None
        return found

    def _add(self, folder: Path, prefix: str, found: dict[str, Entry]) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                place = prefix + entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != "__pycache__":
                            self._add(folder / entry.name, f"{place}/", found)
                        continue
                    if not is_hidden(place) or entry.is_file(follow_symlinks=False):
                        found[place] = _entry(folder / entry.name, place)
                except FileNotFoundError:  # removed since it was listed: the next look tells
                    continue
                if len(found) > MOST_FILES:
                    raise PlaceError(f"{self._root} holds more than {MOST_FILES} files, expected a model")

    def copy(self, place: str, target: Path) -> None:
        path = self._root if self._root.is_file() else self._root / place
        try:
            # A link that took the file's place since it was listed is not followed, and nobody waits for a pipe.
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(source, "rb") as read, target.open("wb") as written:  # noqa: PTH123 - a descriptor
                shutil.copyfileobj(read, written, 1 << 20)
        except FileNotFoundError:
            raise UnsettledError(f"{place} is gone") from None
        except OSError as error:
            raise PlaceError(f"{place} can't be copied: {error.strerror}") from None


def _entry(path: Path, place: str) -> Entry:
    """Raises: PlaceError: it is no regular file. FileNotFoundError."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise PlaceError(f"{place} is {kind}, expected files")
    # ctime can't be set back, so that content which changed under the same size and mtime shows.
    stamp = f"{found.st_ino}:{found.st_mtime_ns}:{found.st_ctime_ns}"
    return Entry(found.st_size, stamp, max(found.st_mtime, found.st_ctime))


def is_hidden(place: str) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in place.split("/"))


def content_of(listing: Listing) -> Listing:
    """Those that are a model's: not hidden, and not left over half-written."""
    return {
        place: entry
        for place, entry in listing.items()
        if not is_hidden(place) and not any(map(_UNFINISHED.fullmatch, place.split("/")))
    }


def fingerprint_of(listing: Listing, *more: str) -> str:
    """Of what a model's files are, in one word."""
    files = sorted((place, one.size_bytes, one.stamp) for place, one in content_of(listing).items())
    return hashlib.sha256(json.dumps([files, more]).encode()).hexdigest()


def check_whole(listing: Listing, *, now_s: float) -> None:
    """Raises: UnsettledError: there is nothing, or something looks half-written."""
    if not any(one.size_bytes for one in content_of(listing).values()):
        raise UnsettledError("there is nothing yet")
    for place, entry in listing.items():
        is_unfinished = any(map(_UNFINISHED.fullmatch, place.split("/")))
        if is_unfinished and (not entry.changed_s or now_s - entry.changed_s < _ABANDONED_S):
            raise UnsettledError(f"{place} looks half-written: waiting until it is gone")


def settled(tree: Tree, first: Listing, *, settle_s: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Look again after a while: at everything, as a hidden file that grows is a sign that somebody writes.

    Raises:
        UnsettledError: it is another by now.
    """
    check_whole(first, now_s=time.time())
    pause(settle_s)
    _check_same(first, tree.list())


def copied(tree: Tree, first: Listing, folder: Path) -> None:
    """Copy a model's files into a folder.

    Raises:
        PlaceError: it can't be read, or there is no room.
        UnsettledError: it changed meanwhile.
    """
    content = content_of(first)
    total = sum(max(one.size_bytes, 0) for one in content.values())
    if total > (free := shutil.disk_usage(folder).free):
        raise PlaceError(f"there are {total} bytes to copy, and the registry's disk has {free} left")
    for place in content:
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        tree.copy(place, target)
        size, expected = target.stat().st_size, content[place].size_bytes
        if size != expected >= 0:
            raise UnsettledError(f"{place} had {expected} bytes, and {size} when it was copied")
    _check_same(first, tree.list())


def _check_same(first: Listing, second: Listing) -> None:
    if changed := sorted({place for place, _ in first.items() ^ second.items()}):
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise UnsettledError(f"{changed[0]} is still being written{more}")
