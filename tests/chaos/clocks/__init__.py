"""Clocks that can be set, one for each host.

libfaketime would serve C too, but up to 0.9.10 it breaks ``clock_nanosleep`` where monotonic clocks are to stay as they
are. All that reads a wall clock in a service is Python, so it is enough to set Python's: :mod:`sitecustomize` in this
folder, which the interpreter imports before anything else, adds what a file says to ``time.time`` and ``time.time_ns``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "CHAOS_CLOCK"


class Clock:
    """The wall clock of the processes that were started with :attr:`environ`, and of those that they start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(bytes(8))

    @property
    def environ(self) -> Mapping[str, str]:
        path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {VARIABLE: str(self._path), "PYTHONPATH": os.pathsep.join(path)}

    def set(self, seconds: int) -> None:
        """Let it be ahead by so many seconds, or behind; it steps at once."""
        with self._path.open("r+b") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
