"""What other processes of this host have in shared memory."""

from __future__ import annotations

import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from services.common.payloads import directory
from services.common.payloads.layout import Reference, end_of, set_use, use_of

_MOST_MAPPED = 256


class _Borrowed(np.ndarray[Any, Any]):
    """Exports another process's memory to views of a message; with the last of them it is given back."""


class PayloadReader:
    """Reads messages of one other process. What is told by that process is not trusted to be true.

    Buffers stay mapped for their next use, until their owner has removed them and :meth:`trim` is called.
    """

    def __init__(self, owner_id: str, *, root: Path = directory.ROOT) -> None:
        """Raises:
        OSError: there is no directory of that process which only our user may open.
        ValueError: the id is none.
        """
        self._directory = directory.open_foreign(owner_id, root)
        self._mapped: dict[tuple[int, bool], mmap.mmap] = {}
        self._close = weakref.finalize(self, os.close, self._directory)
        self._close.atexit = False

    @classmethod
    def of(cls, owner_id: str, *, root: Path = directory.ROOT) -> PayloadReader | None:
        """A reader, if there is something to read."""
        try:
            return cls(owner_id, root=root)
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Look for nothing more; what is mapped or borrowed stays so. Called again, it does nothing."""
        self._close()

    def view(self, reference: Reference, size: int) -> memoryview | None:
        """A message, which holds as long as its owner has it; None: it isn't there any more."""
        memory = self._find(reference, size, writable=False)
        end = end_of(size)
        return None if memory is None else memoryview(memory)[end - size : end]

    def borrow(self, reference: Reference, size: int) -> memoryview | None:
        """A message that was lent, which holds until its last view is dropped; None: it isn't there."""
        memory = self._find(reference, size, writable=True)
        if memory is None:
            return None
        message = np.frombuffer(memory, np.uint8, size, end_of(size) - size).view(_Borrowed)
        weakref.finalize(message, _give_back, memory, reference.use).atexit = False
        return message.data.toreadonly()

    def trim(self) -> bool:
        """Let go of buffers that their owner has removed; whether there are others."""
        for number, writable in list(self._mapped):
            try:
                os.stat(str(number), dir_fd=self._directory, follow_symlinks=False)
            except OSError:
                del self._mapped[number, writable]
        return bool(self._mapped)

    def _find(self, reference: Reference, size: int, *, writable: bool) -> mmap.mmap | None:
        key = reference.buffer, writable
        memory = self._mapped.get(key)
        if memory is None:
            try:
                memory = self._mapped[key] = self._map(reference.buffer, writable=writable)
            except (OSError, ValueError):
                return None
            if len(self._mapped) > _MOST_MAPPED:
                del self._mapped[next(iter(self._mapped))]
        is_there = end_of(size) <= len(memory) and use_of(memory) == reference.use
        return memory if is_there else None

    def _map(self, number: int, *, writable: bool) -> mmap.mmap:
        descriptor = directory.open_buffer(self._directory, number, writable=writable)
        try:
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        finally:
            os.close(descriptor)


def _give_back(memory: mmap.mmap, use: int) -> None:
    if use_of(memory) == use:
        set_use(memory, 0)
