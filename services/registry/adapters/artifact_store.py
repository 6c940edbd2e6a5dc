"""Model files on the local disk, under the SHA-256 of their content. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from services.common.errors import (
    AbortedError,
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArtifactStore:
    """Files below ``root``: ``<first two digits>/<sha256>`` when whole, ``uploads/<sha256>`` until then."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._uploads = root / "uploads"
        self._uploads.mkdir(parents=True, exist_ok=True)

    def find_size(self, sha256: str) -> int | None:
        """Size in bytes of whole content; None when it isn't here."""
        return _size(self._path(sha256))

    def list_digests(self) -> list[str]:
        """Everything that is here as a whole; files and folders that others left here are none of it."""
        found = self._root.glob("[0-9a-f][0-9a-f]/*")
        return [path.name for path in found if _DIGEST.fullmatch(path.name) and path.is_file()]

    def open(self, sha256: str) -> BinaryIO:
        """Open content for reading; it stays readable to whoever opened it, even when it is removed.

        Raises:
            NotFoundError: it isn't here.
        """
        try:
            return self._path(sha256).open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFoundError(f"content with SHA-256 {sha256} is not stored") from None

    def remove(self, sha256: str) -> None:
        """Remove content, if it is here."""
        self._path(sha256).unlink(missing_ok=True)

    def find_partial_size(self, sha256: str) -> int:
        """How many bytes of an unfinished upload are held."""
        return _size(self._uploads / sha256) or 0

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
        held = self.find_partial_size(sha256)
        if offset > held:
            raise AbortedError(f"got offset {offset}, expected at most {held}: call StartUpload again")
        return Upload(self._uploads / sha256, sha256, size_bytes, offset=offset)

    def promote(self, sha256: str) -> None:
        """Make a verified upload the content, in one step that a crash can't cut in two.

        Raises:
            AbortedError: the upload was removed meanwhile.
        """
        path = self._path(sha256)
        with _disk_errors():
            path.parent.mkdir(exist_ok=True)
            try:
                (self._uploads / sha256).rename(path)
            except FileNotFoundError:
                raise AbortedError(f"the upload of {sha256} was removed: call StartUpload again") from None
            for folder in (path.parent, self._root):
                _sync_folder(folder)

    def remove_stale_uploads(self, *, before_ns: int) -> None:
        """Remove unfinished uploads that were last written to before an instant."""
        for path in self._uploads.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime_ns < before_ns:
                    path.unlink()

    def _path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256


class Upload:
    """An unfinished upload, locked against other processes. A broken one keeps its bytes; a wrong one loses them."""

    def __init__(self, path: Path, sha256: str, size_bytes: int, *, offset: int) -> None:
        self._path = path
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
            with _disk_errors():
                yield
        except ResourceExhaustedError:
            self._discard()
            raise

    def _discard(self) -> None:
        self._path.unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceExhaustedError("the registry's disk is full") from error
        raise
