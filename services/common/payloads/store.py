"""The buffers of this process in shared memory."""

from __future__ import annotations

import contextlib
import itertools
import logging
import mmap
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.common.payloads import directory
from services.common.payloads.layout import Reference, end_of, set_use, use_of

_log = logging.getLogger(__name__)

_KEPT_S = 5.0
"""How long a buffer waits for its next use: making one costs much more than a copy."""


@dataclass(slots=True, eq=False)
class _Buffer:
    number: int
    memory: mmap.mmap
    use: int = 0
    borrower: str = ""
    free_since: float = 0.0

    @property
    def capacity(self) -> int:
        return len(self.memory)


class _Message(np.ndarray[Any, Any]):
    """Exports a buffer's memory to views of a message; its end is the end of the last of them."""

    buffer: _Buffer


class Draft:
    """A message in the making; dropped before its end, it leaves nothing."""

    def __init__(self, message: _Message) -> None:
        self._message = message
        self._memory = message.data
        self._at = 0

    def add(self, part: bytes | memoryview) -> None:
        """Raises ValueError when that is more than was asked for."""
        begin, self._at = self._at, self._at + len(part)
        self._memory[begin : self._at] = part

    def message(self) -> memoryview:
        """What was added, to be read only."""
        buffer = self._message.buffer
        set_use(buffer.memory, buffer.use)
        return self._memory.toreadonly()


def reference_of(message: bytes | memoryview) -> Reference | None:
    """Where a message lies, if a store of this process holds it."""
    exporter = message.obj if isinstance(message, memoryview) else None
    return Reference(exporter.buffer.number, exporter.buffer.use) if isinstance(exporter, _Message) else None


class PayloadStore:
    """Holds messages until nobody here has a view of them, and whoever they were lent to has given them back.

    Buffers are used again, since new memory costs more than the copying. Takes no more than ``limit_bytes``, nor half
    of what is free; without room, or without shared memory, it takes nothing, and others are asked for nothing. Thread
    safe.
    """

    def __init__(self, owner_id: str, *, limit_bytes: int, root: Path = directory.ROOT) -> None:
        self.owner_id = owner_id
        self._root = root
        self._numbers, self._uses = itertools.count(1), itertools.count(1)
        self._lock = threading.Lock()
        self._bytes = 0
        self._free: list[_Buffer] = []
        self._lent: list[_Buffer] = []
        self._dropped: deque[_Buffer] = deque()
        """Those without a view: added at any time, by whichever thread dropped the last one."""
        self._directory = -1
        self._limit = limit_bytes
        if limit_bytes:
            self._open()

    def _open(self) -> None:
        try:
            directory.remove_abandoned(self._root)
            self._directory = directory.create(self.owner_id, self._root)
            room = os.statvfs(self._directory)
        except OSError as error:
            _log.info("large messages go over connections: %s", error)
            return
        self._limit = min(self._limit, room.f_bavail * room.f_frsize // 2)

    def begin(self, size: int) -> Draft | None:
        """Room for a message of so many bytes; None: there is none."""
        with self._lock:
            buffer = self._take(end_of(size)) if self._directory >= 0 else None
            if buffer is None:
                return None
            buffer.use = next(self._uses)
        message = np.frombuffer(buffer.memory, np.uint8, size, end_of(size) - size).view(_Message)
        message.buffer = buffer
        weakref.finalize(message, self._dropped.append, buffer).atexit = False
        return Draft(message)

    def put(self, parts: Sequence[bytes | memoryview], size: int) -> memoryview | None:
        """A message of these parts, ``size`` bytes together; None: there is no room."""
        draft = self.begin(size)
        if draft is None:
            return None
        for part in parts:
            draft.add(part)
        return draft.message()

    def lend(self, message: memoryview, borrower: str) -> Reference:
        """Let another process hold a message; it gives it back, or :meth:`discard` is called when it can't any more."""
        if not isinstance(exporter := message.obj, _Message):
            raise TypeError("only what this store holds can be lent")
        buffer = exporter.buffer
        buffer.borrower = borrower
        return Reference(buffer.number, buffer.use)

    def discard(self, borrower: str) -> None:
        """Remove what was lent to a process that is gone, or taken to be."""
        with self._lock:
            self._collect()
            for buffer in [one for one in self._lent if one.borrower == borrower]:
                self._lent.remove(buffer)
                self._remove(buffer)

    def trim(self) -> bool:
        """Remove buffers that nobody needed for a while; whether there are others, for which to call it again."""
        now = time.monotonic()
        with self._lock:
            self._collect()
            for buffer in [one for one in self._free if now - one.free_since > _KEPT_S]:
                self._free.remove(buffer)
                self._remove(buffer)
            return bool(self._bytes)

    def close(self) -> None:
        """Remove everything; views stay valid."""
        with self._lock:
            if self._directory >= 0:
                directory.remove(self.owner_id, self._directory, self._root)
            self._directory = -1

    def _take(self, needed: int) -> _Buffer | None:
        self._collect()
        fitting = [one for one in self._free if needed <= one.capacity <= 2 * needed]
        if not fitting:
            return self._make(needed)
        buffer = min(fitting, key=lambda one: one.capacity)
        self._free.remove(buffer)
        return buffer

    def _collect(self) -> None:
        """Find out which buffers are free again."""
        while self._dropped:
            buffer = self._dropped.popleft()
            if buffer.borrower:
                self._lent.append(buffer)
            else:
                set_use(buffer.memory, 0)
                self._release(buffer)
        if any(not use_of(one.memory) for one in self._lent):
            lent, self._lent = self._lent, []
            for buffer in lent:
                if use_of(buffer.memory):
                    self._lent.append(buffer)
                else:
                    self._release(buffer)

    def _release(self, buffer: _Buffer) -> None:
        buffer.borrower, buffer.free_since = "", time.monotonic()
        self._free.append(buffer)

    def _make(self, needed: int) -> _Buffer | None:
        step = max(mmap.PAGESIZE, 1 << needed.bit_length() - 3)
        capacity = -(-needed // step) * step
        while self._bytes + capacity > self._limit and self._free:
            self._remove(self._free.pop(0))
        if self._bytes + capacity > self._limit:
            return None
        number = next(self._numbers)
        try:
            memory = self._map(str(number), capacity)
        except OSError as error:
            _log.warning("no shared memory for a message of %d bytes: %s", needed, error)
            return None
        self._bytes += capacity
        return _Buffer(number, memory)

    def _map(self, name: str, capacity: int) -> mmap.mmap:
        """A new file; it has its memory before it is written to, which would kill this process without."""
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._directory)
        try:
            os.posix_fallocate(descriptor, 0, capacity)
            return mmap.mmap(descriptor, capacity)
        except OSError:
            os.unlink(name, dir_fd=self._directory)
            raise
        finally:
            os.close(descriptor)

    def _remove(self, buffer: _Buffer) -> None:
        self._bytes -= buffer.capacity
        if self._directory >= 0:
            with contextlib.suppress(OSError):
                os.unlink(str(buffer.number), dir_fd=self._directory)
