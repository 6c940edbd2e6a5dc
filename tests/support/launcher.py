"""``penstock up --json`` as a process of its own, with its events."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import psutil


class Launcher:
    """Starts the command; events are read with :meth:`event`. On leaving, whatever is left of it is killed."""

    def __init__(self, environ: Mapping[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "up", "--json", *arguments],
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._seen: list[psutil.Process] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def event(self, name: str, *, part: str | None = None, within: float = 30.0) -> dict[str, Any]:
        """The next event of that name (and part); those before it are passed over."""
        while (event := self._events.get(timeout=within)) is not None:
            if event["event"] == name and part in (None, event.get("part")):
                return event
        raise AssertionError(f"no event {name}: {self._process.communicate()[1]}")

    def descendants(self) -> list[psutil.Process]:
        self._seen = psutil.Process(self.pid).children(recursive=True)
        return self._seen

    def pid_of(self, word: str) -> int:
        """The child that has ``word`` in its command line."""
        return next(child.pid for child in psutil.Process(self.pid).children() if word in " ".join(child.cmdline()))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, *, within: float = 30.0) -> int:
        return self._process.wait(within)

    def refusal(self, *, within: float = 30.0) -> str:
        """What it said on standard error, when it ends by itself with status 1."""
        assert self._process.stderr is not None
        said = self._process.stderr.read()
        assert self.wait(within=within) == 1, said
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        left = [process for process in self._seen if process.is_running()]
        if self._process.poll() is None:
            left += [psutil.Process(self.pid), *self.descendants()]
        for process in left:
            process.kill()
        self._process.wait(10)
        self._reader.join(10)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
