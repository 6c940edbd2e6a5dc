"""A server that is started to be measured, and ended with all that it started."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.processes import family_of

START_S = 120.0


class StartError(Exception):
    """A system did not start; the message holds its last words."""


class ServerProcess:
    """A server and its children, in a session of their own; output goes to ``log``. All of it ends with the block."""

    def __init__(
        self, command: Sequence[str], *, environ: Mapping[str, str], log: Path, folder: Path | None = None
    ) -> None:
        self._command, self._environ, self._log, self._folder = command, environ, log, folder

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it as Ctrl-C does; what is still there after half a minute is killed."""
        family = family_of(self.pid) if self._process.poll() is None else []
        if family:
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        for process in psutil.wait_procs(family, timeout=5)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def wait_until(self, is_so: Callable[[], Any], *, within_s: float = START_S) -> None:
        """Ask again and again.

        Raises:
            StartError: the server ended, or it didn't become so in time.
        """
        end = time.monotonic() + within_s
        while not is_so():
            if self._process.poll() is not None or time.monotonic() > end:
                raise StartError(f"{' '.join(self._command)} is not ready:\n{self.last_words()}")
            time.sleep(0.05)

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-4_000:]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
