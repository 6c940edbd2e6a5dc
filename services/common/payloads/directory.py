"""Directories in shared memory, one for each process: whose they are, and how they go when their process was killed.

The owner holds a lock on its directory as long as it lives. The kernel takes it back from a process that dies, so a
directory whose lock can be had is nobody's any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from pathlib import Path

ROOT = Path("/dev/shm")  # noqa: S108 - names can't be guessed, and are checked
_PREFIX = "penstock-"
_ID = re.compile(r"[0-9a-f]{16,32}")
_MARK = "abandoned"
RESPITE_S = 10.0
"""How long the directory of a dead process is kept: others may still read what it has sent just before."""


def create(owner_id: str, root: Path = ROOT) -> int:
    """Make a process's directory and take its lock; a descriptor of it.

    Raises:
        OSError: there is no shared memory, or the directory is there already.
    """
    path = _path(owner_id, root)
    while True:
        path.mkdir(0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)  # somebody took it for a dead process's before it had its lock


def open_foreign(owner_id: str, root: Path = ROOT) -> int:
    """A descriptor of another process's directory.

    Raises:
        OSError: it isn't there, or isn't ours alone.
    """
    descriptor = os.open(_path(owner_id, root), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(descriptor)
        raise PermissionError(f"the directory of {owner_id} is open to others")
    return descriptor


def open_buffer(directory: int, number: int, *, writable: bool) -> int:
    """A descriptor of a buffer in another process's directory.

    Raises:
        OSError: it isn't there, or is no file of ours.
    """
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(str(number), flags, dir_fd=directory)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(f"buffer {number} is no file of ours")
    return descriptor


def remove(owner_id: str, descriptor: int, root: Path = ROOT) -> None:
    """Remove a directory with all buffers, and close it; what is mapped stays so."""
    with contextlib.suppress(OSError):
        _remove(owner_id, descriptor, root)
    os.close(descriptor)


def _remove(owner_id: str, descriptor: int, root: Path) -> None:
    for name in os.listdir(descriptor):
        os.unlink(name, dir_fd=descriptor)
    _path(owner_id, root).rmdir()


def remove_abandoned(root: Path = ROOT, *, respite_s: float = RESPITE_S) -> None:
    """Remove directories of our user's processes that were found to be dead ``respite_s`` ago, and mark new finds."""
    for path in root.glob(f"{_PREFIX}*"):
        owner_id = path.name.removeprefix(_PREFIX)
        if _ID.fullmatch(owner_id):
            with contextlib.suppress(OSError):
                _remove_if_abandoned(owner_id, root, respite_s)


def _remove_if_abandoned(owner_id: str, root: Path, respite_s: float) -> None:
    descriptor = open_foreign(owner_id, root)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(os.open(_MARK, os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=descriptor))
        found_at = os.stat(_MARK, dir_fd=descriptor).st_mtime
        if time.time() - found_at >= respite_s:
            _remove(owner_id, descriptor, root)
    finally:
        os.close(descriptor)


def _path(owner_id: str, root: Path) -> Path:
    if not _ID.fullmatch(owner_id):
        raise ValueError(f"got the id {owner_id!r}, expected 16 to 32 hexadecimal digits")
    return root / f"{_PREFIX}{owner_id}"
