"""Whoever keeps this process, and passes on what outlives it: the launcher, or the parent of several processes."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

LISTENERS = ("grpc", "http", "metrics")


@dataclass(frozen=True, slots=True)
class Keeper:
    """What it gave us. Its sockets stay open when we leave, and our successor, which may run already, has them too."""

    listeners: Mapping[str, socket.socket] = field(default_factory=dict)
    """Bound sockets by purpose, one of ``LISTENERS``; empty: we are on our own."""
    notices: int | None = None
    """A pipe to it; None when it doesn't listen."""

    @classmethod
    def from_descriptors(cls, passed: Mapping[str, int]) -> Self:
        """Take what was passed on; the pipe's name is "notices"."""
        for descriptor in passed.values():
            os.set_inheritable(descriptor, False)
        listeners = {name: socket.socket(fileno=passed[name]) for name in LISTENERS if name in passed}
        return cls(listeners, passed.get("notices"))

    @classmethod
    def from_message(cls, end: socket.socket) -> Self:
        """Take what :meth:`send` put into the other end of a socket pair."""
        _, descriptors, _, _ = socket.recv_fds(end, 1, len(LISTENERS))
        return cls.from_descriptors(dict(zip(LISTENERS, descriptors, strict=False)))

    @staticmethod
    def send(listeners: Mapping[str, socket.socket], end: socket.socket) -> None:
        """Pass sockets for gRPC and REST to the process at the other end, before anything else is said to it."""
        socket.send_fds(end, [b"."], [listeners[name].fileno() for name in ("grpc", "http")])

    def tell(self, notice: str) -> None:
        """Say how far we are, in a line: "ready" once requests are taken."""
        if self.notices is not None:
            with contextlib.suppress(OSError):  # it has left, or has heard enough
                os.write(self.notices, f"{notice}\n".encode())
