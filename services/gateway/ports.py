"""The public ports of a gateway of several processes."""

from __future__ import annotations

import socket

from services.common.listeners import bound


def reserve(host: str, port: int) -> socket.socket:
    """Take a port (0: a free one) for processes that listen with ``SO_REUSEPORT``, until the socket is closed.

    It doesn't listen itself, so the kernel gives it no connections.

    Raises:
        SystemExit: somebody else listens there, another gateway of the same user too.
    """
    with bound(host, port) as alone:
        alone.listen()
        found = int(alone.getsockname()[1])
    return bound(host, found, reuse_port=True)
