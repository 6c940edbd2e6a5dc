"""Ports to listen on: of this process alone, or of several processes of one gateway."""

from __future__ import annotations

import socket
import sys


def bound(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket bound to an address, which other processes may share with ``reuse_port``; it doesn't listen yet.

    Raises:
        SystemExit: the address is taken.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host.strip("[]"), port))
    except OSError as error:
        made.close()
        sys.exit(f"can't listen on {host}:{port}: {error.strerror}")
    return made


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
