"""How a buffer is laid out: the number of its use, 0 while it has none, then the message, which ends at a 64th byte.

Tensors' contents end a message, so those of the last one, mostly the only one, lie where vector instructions want them.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

ALIGNMENT = 64
_USE = struct.Struct("<Q")


class Reference(NamedTuple):
    """A message in a process's store: in which buffer, and the number of that use, which no other one has."""

    buffer: int
    use: int


def end_of(size: int) -> int:
    """Where a message of this size ends, and with it what a buffer must hold."""
    return ALIGNMENT + size + -size % ALIGNMENT


def use_of(memory: mmap.mmap) -> int:
    return int(_USE.unpack_from(memory)[0])


def set_use(memory: mmap.mmap, use: int) -> None:
    _USE.pack_into(memory, 0, use)
