"""One process of a part, and what it says of itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from penstock.launcher.children import Child


@dataclass(slots=True, eq=False)
class Notices:
    """What a process says through the pipe it was given: "renews" if it does, then "ready", or "failed" and why."""

    renews: bool = False
    """Whether it replaces processes of its own, one by one, on SIGHUP, and says when that is done."""
    failure: str = ""
    has_come: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is ready or has failed."""

    def hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "renews":
            self.renews = True
        else:
            self.failure = rest
            self.has_come.set()


@dataclass(slots=True, eq=False)
class Run:
    """A process from its start on. ``notices`` is None where it says nothing."""

    child: Child
    notices: Notices | None
    begin: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    is_leaving: bool = False
