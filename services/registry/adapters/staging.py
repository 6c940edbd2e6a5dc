"""Uploads on this registry's disk, until they are whole, checked and stored. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from services.common.errors import (
    AbortedError,
    DataLossError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)


class Staging:
    """Files below ``root``: ``uploads/<sha256>`` until all bytes are here, then, unchanging, ``verified/<sha256>``."""

    def __init__(self, root: Path) -> None:
        self._uploads = root / "uploads"
        self._verified = root / "verified"
        for folder in (self._uploads, self._verified):
            folder.mkdir(parents=True, exist_ok=True)

    def find_held_bytes(self, sha256: str) -> int:
        """How many bytes of an upload are held."""
        return _size(self._verified / sha256) or _size(self._uploads / sha256) or 0

    def find_verified(self, sha256: str) -> Path | None:
        """The whole content, if it is here."""
        path = self._verified / sha256
        return path if path.exists() else None

    def check_room(self, size_bytes: int) -> None:
        """Raises: ResourceExhaustedError: so much won't fit."""
        free = shutil.disk_usage(self._uploads).free
        if size_bytes > free:
            raise ResourceExhaustedError(
                f"got an upload of {size_bytes} bytes more, expected at most {free}: disk full"
            )

    def open_upload(self, sha256: str, size_bytes: int, *, offset: int) -> Upload:
        """Open an upload, new or unfinished, to go on at ``offset``. The caller closes it.

        Raises:
            AbortedError: so many bytes are not held (any more).
            UnavailableError: another process is receiving the same content.
        """
        path = self._uploads / sha256
        held = _size(path) or 0
        if offset > held:
            raise AbortedError(f"got offset {offset}, expected at most {held}: call StartUpload again")
        return Upload(path, sha256, size_bytes, offset=offset)

    def accept(self, upload: Upload) -> None:
        """Make an upload that was verified one that nobody writes to any more.

        Raises:
            AbortedError: it was removed meanwhile.
        """
        try:
            with disk_errors():
                upload.path.rename(self._verified / upload.path.name)
        except FileNotFoundError:
            raise AbortedError(f"the upload of {upload.path.name} was removed: call StartUpload again") from None

    def discard(self, sha256: str) -> None:
        """Remove whole content that was stored."""
        (self._verified / sha256).unlink(missing_ok=True)

    def list_stale(self, *, before_ns: int) -> list[tuple[str, int]]:
        """Digests and sizes of uploads that were last written to before an instant."""
        found = []
        for path in (*self._uploads.iterdir(), *self._verified.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                if (about := path.stat()).st_mtime_ns < before_ns:
                    found.append((path.name, about.st_size))
        return found

    def abandon(self, sha256: str) -> bool:
        """Remove an upload, unless somebody is sending it just now."""
        for path in (self._uploads / sha256, self._verified / sha256):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                path.unlink()
        return True


class Upload:
    """An unfinished upload, locked against other processes. A broken one keeps its bytes; a wrong one loses them."""

    def __init__(self, path: Path, sha256: str, size_bytes: int, *, offset: int) -> None:
        self.path = path
        self._sha256 = sha256
        self._size_bytes = size_bytes
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o640), "r+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.truncate(offset)
            # Leaves the position at the end, where writing goes on.
            self._hash = hashlib.file_digest(self._file, "sha256")
        except BlockingIOError:
            self._file.close()
            raise UnavailableError(f"another registry is receiving {sha256}, try again") from None
        except BaseException:
            self._file.close()
            raise

    def write(self, chunk: bytes) -> None:
        """Append a piece.

        Raises:
            InvalidArgumentError: that is more than was announced; nothing is kept.
            ResourceExhaustedError: the disk is full; nothing is kept.
        """
        position = self._file.tell() + len(chunk)
        if position > self._size_bytes:
            self._discard()
            raise InvalidArgumentError(f"got {position} bytes or more, expected {self._size_bytes} as announced")
        view = memoryview(chunk)
        with self._discarded_when_full():
            while view:
                view = view[self._file.write(view) :]
        self._hash.update(chunk)

    def verify(self) -> None:
        """See that everything is here and is what was announced, and bring it safely to the disk.

        Raises:
            AbortedError: bytes are missing; what is here is kept.
            DataLossError: the content is another; nothing is kept.
            ResourceExhaustedError: the disk is full; nothing is kept.
        """
        if (size := self._file.tell()) < self._size_bytes:
            raise AbortedError(f"got {size} bytes, expected {self._size_bytes}: call StartUpload to go on")
        if (digest := self._hash.hexdigest()) != self._sha256:
            self._discard()
            raise DataLossError(f"got content with SHA-256 {digest}, expected {self._sha256} as announced")
        with self._discarded_when_full():
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _discarded_when_full(self) -> Iterator[None]:
        try:
            with disk_errors():
                yield
        except ResourceExhaustedError:
            self._discard()
            raise

    def _discard(self) -> None:
        self.path.unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Raises: ResourceExhaustedError: where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceExhaustedError("the registry's disk is full") from error
        raise
