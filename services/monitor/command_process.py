"""``python -m services.monitor.command_process FOLDER``: run a command that outlives the monitor, and note its end.

It reads ``spec.json`` in the folder, leaves its caller, and holds a lock on ``lock`` for as long as the command runs.
It keeps the end of what the command prints in ``output``, ends the command at its deadline or when there is a file
``stop``, and writes how it ended to ``exit.json``. The standard library alone: it is there at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

SPEC, LOCK, OUTPUT, EXIT, STOP = "spec.json", "lock", "output", "exit.json", "stop"
MAX_OUTPUT_BYTES = 65_536

_LOOK_S = 0.2
_WRITE_S = 1.0
_GRACE_S = 10.0
_NO_SUCH_COMMAND = 127


def main() -> None:
    folder = Path(sys.argv[1])
    spec = json.loads((folder / SPEC).read_text())
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # it runs already
    if (folder / EXIT).exists():
        return  # it ran
    if os.fork():
        return
    os.setsid()
    _write(folder / EXIT, _run(folder, spec))


def _run(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    try:
        process = subprocess.Popen(  # noqa: S603 - what it is there for
            spec["arguments"],
            cwd=spec["folder"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return {"status": _NO_SUCH_COMMAND, "why": f"it can't be started: {error.strerror}"}
    output, why, kill_at = _Output(folder / OUTPUT, process.stdout), "", 0.0
    while process.poll() is None:
        output.read(_LOOK_S)
        if why and time.time() >= kill_at:
            _end(process, signal.SIGKILL)
        elif not why and (why := _why_to_end(folder, spec["deadline"])):
            _end(process, signal.SIGTERM)
            kill_at = time.time() + _GRACE_S
    output.read(0.0)
    output.write()
    _end(process, signal.SIGKILL)  # what it left behind
    return {"status": process.returncode, "why": why}


def _why_to_end(folder: Path, deadline: float) -> str:
    if (folder / STOP).exists():
        return "it was stopped"
    return "its time was over" if time.time() >= deadline else ""


class _Output:
    """The end of what a process prints, written down about once a second."""

    def __init__(self, path: Path, stream: IO[bytes] | None) -> None:
        self._path = path
        self._pipe = stream.fileno() if stream is not None else -1
        os.set_blocking(self._pipe, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._kept = b""
        self._written, self._written_at = b"", 0.0

    def read(self, wait_s: float) -> None:
        """Take what there is, and wait for some at most so long."""
        is_open = bool(self._selector.get_map())
        if not is_open:
            time.sleep(wait_s)
        elif self._selector.select(wait_s):
            with contextlib.suppress(BlockingIOError):
                while part := os.read(self._pipe, 65_536):
                    self._kept = (self._kept + part)[-MAX_OUTPUT_BYTES:]
                self._selector.unregister(self._pipe)
        if self._kept != self._written and time.monotonic() - self._written_at >= _WRITE_S:
            self.write()

    def write(self) -> None:
        _write(self._path, self._kept)
        self._written, self._written_at = self._kept, time.monotonic()


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, how)


def _write(path: Path, content: bytes | dict[str, Any]) -> None:
    """All of it or nothing."""
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    unfinished.replace(path)


if __name__ == "__main__":
    main()
