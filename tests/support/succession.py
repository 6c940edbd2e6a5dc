"""Gateway processes that succeed each other on sockets which outlive them, as the launcher starts them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

from services.common.listeners import bind
from tests.support.gateway_process import GatewayProcess

_BECOME = """
import os, sys
for at, descriptor in enumerate(sys.argv[1].split(","), 3):
    os.dup2(int(descriptor), at)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "4", "LISTEN_FDNAMES": "grpc:http:metrics:notices"}
os.execv(sys.executable, [sys.executable, "-m", "services.gateway"])
"""


class Succession:
    """Holds the public sockets of ``gateway``, whose settings count; it isn't started itself."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        ports = [gateway.ports[name] for name in ("GRPC", "HTTP", "METRICS")]
        self._sockets = [bind("127.0.0.1", port, reuse_port=True) for port in ports]
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process and wait until it says that it is ready."""
        reading, writing = os.pipe()
        high = [_above(one.fileno()) for one in self._sockets] + [_above(writing)]
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _BECOME, ",".join(map(str, high))],
                env=self._gateway.environ,
                pass_fds=high,
                stderr=self._gateway.errors,
            )
        finally:
            for descriptor in (writing, *high):
                os.close(descriptor)
        self.running.append(process)
        with os.fdopen(reading) as notices:
            assert notices.readline() == "ready\n", self._gateway.stderr()
        return process

    def succeed(self) -> None:
        """Let a successor take over from the process that runs."""
        old = self.running[-1]
        self.start()
        old.send_signal(signal.SIGHUP)
        assert old.wait(30) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        said = self._gateway.stderr()
        for one in self._sockets:
            one.close()
        assert "Traceback" not in said, said


def _above(descriptor: int) -> int:
    """A copy that is not overwritten by those at 3 and up."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64)
