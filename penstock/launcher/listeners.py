"""Sockets that a part listens on and the launcher keeps open: no connection is refused between two processes."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Mapping

from services.common.listeners import bind

_ABOVE = 64
"""Where descriptors to pass on are kept: a child has them at 3 and up, and one must not overwrite another."""


class Listeners:
    """Bound sockets by name. The part calls ``listen``: before that connections are refused."""

    def __init__(self, addresses: Mapping[str, tuple[str, int]]) -> None:
        self._addresses = addresses
        self._sockets: dict[str, socket.socket] = {}

    def __bool__(self) -> bool:
        return bool(self._addresses)

    def descriptors(self) -> dict[str, int]:
        """The sockets, bound anew if they were closed; none if a port can't be had, of which the part will complain."""
        try:
            for name, (host, port) in self._addresses.items():
                if name not in self._sockets:
                    self._sockets[name] = _high(bind(host, port, reuse_port=True))
        except OSError:
            self.close()
        return {name: one.fileno() for name, one in self._sockets.items()}

    def close(self) -> None:
        """Refuse connections from now on, those that wait too, if no process listens."""
        while self._sockets:
            self._sockets.popitem()[1].close()


def _high(low: socket.socket) -> socket.socket:
    with low:
        return socket.socket(fileno=high(low.fileno()))


def high(descriptor: int) -> int:
    """A copy of a descriptor that can be passed on."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
