"""Content in a folder."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from services.common.errors import NotFoundError
from services.registry.adapters.content_store import Fragment
from services.registry.adapters.staging import disk_errors
from services.registry.adapters.threads import run_in

_THREADS = 4


class LocalStore:
    """Files below ``root``, which is on one disk with what is stored: they are linked, not copied."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = ThreadPoolExecutor(_THREADS, "registry-store")

    async def find_size(self, key: str) -> int | None:
        try:
            return (self._root / key).stat().st_size
        except FileNotFoundError:
            return None

    async def put(self, source: Path, key: str) -> None:
        """Raises: ResourceExhaustedError: the disk is full."""
        await run_in(self._threads, self._link, source, self._root / key)

    def _link(self, source: Path, path: Path) -> None:
        with disk_errors():
            path.parent.mkdir(exist_ok=True)
            path.hardlink_to(source)
            for folder in (path.parent, self._root):
                _sync_folder(folder)

    async def open(self, key: str) -> LocalReader:
        """What is opened stays readable when it is removed."""
        try:
            return LocalReader(os.open(self._root / key, os.O_RDONLY), self._threads)
        except FileNotFoundError:
            raise NotFoundError("the content is not stored any more") from None

    async def remove(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    async def find_fragments(self, *, before_ns: int) -> list[Fragment]:  # noqa: ARG002 - there are none
        return []

    async def remove_fragment(self, fragment: Fragment) -> None:
        raise AssertionError(f"got {fragment}, expected none")

    def close(self) -> None:
        self._threads.shutdown()


class LocalReader:
    block_bytes = 1 << 20

    def __init__(self, descriptor: int, threads: Executor) -> None:
        self._descriptor = descriptor
        self._threads = threads
        self.size = os.fstat(descriptor).st_size

    async def read(self, offset: int, count: int) -> bytes:
        return await run_in(self._threads, os.pread, self._descriptor, count, offset)

    def close(self) -> None:
        os.close(self._descriptor)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
