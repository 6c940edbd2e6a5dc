"""Sockets to listen on: bound here, or passed on by whoever started this process and outlives it."""

from __future__ import annotations

import socket
import sys


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket bound to an address, which other processes may share with ``reuse_port``; it doesn't listen yet.

    Raises:
        OSError: the address is taken.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host.strip("[]"), port))
    except OSError:
        made.close()
        raise
    return made


def bound(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """The same for who can't go on without it.

    Raises:
        SystemExit: the address is taken.
    """
    try:
        return bind(host, port, reuse_port=reuse_port)
    except OSError as error:
        sys.exit(f"can't listen on {host}:{port}: {error.strerror}")
