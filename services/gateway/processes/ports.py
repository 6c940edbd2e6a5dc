"""Ports that several processes of one gateway listen on, and nobody else."""

from __future__ import annotations

import socket
import sys


def reserve(host: str, port: int) -> socket.socket:
    """Take a port (0: a free one) for processes that listen with ``SO_REUSEPORT``, until the socket is closed.

    It doesn't listen itself, so the kernel gives it no connections.

    Raises:
        SystemExit: somebody else listens there, another gateway of the same user too.
    """
    with _bound(host, port, is_shared=False) as alone:
        alone.listen()
        found = int(alone.getsockname()[1])
    return _bound(host, found, is_shared=True)


def _bound(host: str, port: int, *, is_shared: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shared)
    try:
        made.bind((host.strip("[]"), port))
    except OSError as error:
        made.close()
        sys.exit(f"can't listen on {host}:{port}: {error.strerror}")
    return made
