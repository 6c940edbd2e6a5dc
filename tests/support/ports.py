"""Free ports on loopback."""

from __future__ import annotations

import errno
import os
import random
import socket

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_CANDIDATES = range(10_000 + _WORKER, 32_000, _WORKERS)
"""Below those that the kernel gives to outgoing connections, one of which could take a port before its server does.
Each of several pytest workers has its own."""


def free_port(*, with_offset: int = 0) -> int:
    """A port that nothing listens on just now, never given twice by one process; and so is that so much higher."""
    while len(_given) < len(_CANDIDATES) // 2:
        port = _random.choice(_CANDIDATES)
        wanted = {port, port + with_offset}
        if wanted.isdisjoint(_given) and max(wanted) < _CANDIDATES.stop and all(map(_is_free, wanted)):
            _given.update(wanted)
            return port
    raise RuntimeError(f"{len(_given)} ports were asked for, expected fewer")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


_given: set[int] = set()
_random = random.SystemRandom()  # of its own: some tests set the seed of the other
