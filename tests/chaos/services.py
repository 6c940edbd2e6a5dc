"""Services started one by one, as a process manager of a fleet does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.hosts import Host

_STOP_WITHIN_S = 40.0


class Service:
    """One process on a host. Its output goes to a file."""

    def __init__(self, name: str, part: str, command: Sequence[str], *, host: Host, log: Path, **environ: str) -> None:
        self.name = name
        self.part = part
        self.host = host
        self._command = command
        self._environ = environ
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of_ours(cls, name: str, part: str, *, host: Host, folder: Path, settings: Mapping[str, str]) -> Service:
        """``python -m services.<part>`` with settings."""
        command = [sys.executable, "-m", f"services.{part}"]
        return cls(name, part, command, host=host, log=folder / f"{name}.log", **settings)

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.pid is not None:
            return
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "CONSUL_"))}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.host.command(self._command),
                env={**inherited, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Ask it to stop, and make it."""
        self.ask_to_stop()
        if self._process is not None:
            try:
                self._process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
